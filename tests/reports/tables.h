// The table that the renderers' tests render: two bit-widths, two methods, one perplexity and one accuracy each.
#pragma once

#include <string>

#include "reports/table.h"

namespace ptq::test {

inline Table small_table() {
  Table t;
  t.title = "Table 1";
  t.row_levels = {"quantization", "method"};
  t.column_levels = {"corpus", "metric"};
  t.rows = {{"full precision", "full precision"}, {"w4g64", "rtn"}, {"w4g64", "gptq"}, {"w2g64", "rtn"}, {"w2g64", "gptq"}};
  t.columns = {{"story", "perplexity"}, {"story", "acc"}};
  t.lower_is_better = {true, false};
  t.percent = {false, true};
  t.cells.assign(5, std::vector<TableCell>(2));
  t.cells[0] = {{5.123456, {}, 5.12, "", false}, {0.7525, 0.0125, {}, "", false}};
  t.cells[1] = {{5.75, {}, 5.7, "", false}, {0.7425, 0.0125, {}, "", false}};
  t.cells[2] = {{5.25, {}, 5.3, "", false}, {0.7375, 0.0125, {}, "", false}};
  t.cells[3] = {{123456.0, {}, {}, "", false}, {{}, {}, {}, "", false}};
  t.cells[4] = {{1234.4, {}, {}, "", false}, {{}, {}, {}, "out of memory", false}};
  t.notes = {"128 samples of 512 tokens"};
  mark_best(t, {"full precision"});
  return t;
}

inline std::string render(const std::string& renderer, const Table& table, const RenderOptions& options = {}) {
  const auto* entry = RendererRegistry::get().find(renderer);
  return entry ? entry->make()->render(table, options) : "no renderer " + renderer;
}

}  // namespace ptq::test

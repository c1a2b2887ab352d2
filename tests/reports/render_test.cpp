#include <gmock/gmock.h>

#include <cmath>

#include "tests/reports/tables.h"

namespace ptq {
namespace {

using test::render;
using test::small_table;
using ::testing::HasSubstr;

TEST(Markdown, RendersTheSmallTable) {
  EXPECT_EQ(render("markdown", small_table()),
            R"(**Table 1**

| quantization   | method         | story<br>perplexity | story<br>acc % |
|----------------|----------------|--------------------:|---------------:|
| full precision | full precision |         5.12 (5.12) |          75.25 |
| w4g64          | rtn            |         5.75 (5.70) |      **74.25** |
|                | gptq           |     **5.25** (5.30) |          73.75 |
| w2g64          | rtn            |             1.2e+05 |              — |
|                | gptq           |            **1234** |       *failed* |

- 128 samples of 512 tokens
- failed: out of memory [w2g64 gptq / story acc]
)");
}

TEST(Markdown, EscapesWhatWouldBreakTheTable) {
  Table t = small_table();
  t.rows[1] = {"a|b", "x*y_z _q <i>\nend"};
  EXPECT_THAT(render("markdown", t), HasSubstr("| a\\|b "));
  EXPECT_THAT(render("markdown", t), HasSubstr("| x\\*y_z \\_q &lt;i> end |"));
}

TEST(Latex, RendersTheSmallTable) {
  EXPECT_EQ(render("latex", small_table()),
            R"(% needs \usepackage{booktabs}
\begin{table}
\centering
\caption{Table 1}
\begin{tabular}{llrr}
\toprule
 &  & \multicolumn{2}{c}{story} \\
\cmidrule(lr){3-4}
quantization & method & perplexity & acc \% \\
\midrule
full precision & full precision & 5.12 (5.12) & 75.25 \\
\addlinespace
w4g64 & rtn & 5.75 (5.70) & \textbf{74.25} \\
 & gptq & \textbf{5.25} (5.30) & 73.75 \\
\addlinespace
w2g64 & rtn & 1.2e+05 & --- \\
 & gptq & \textbf{1234} & \textit{failed} \\
\bottomrule
\end{tabular}
\par\smallskip{\footnotesize 128 samples of 512 tokens}
\par\smallskip{\footnotesize failed: out of memory [w2g64 gptq / story acc]}
\end{table}
)");
}

TEST(Latex, SpansOnlyNeighboursThatAgreeInTheOuterLevels) {
  Table t;
  t.row_levels = {"method"};
  t.column_levels = {"calibration", "evaluation", "metric"};
  t.rows = {{"rtn"}};
  t.columns = {{"a", "x", "p"}, {"a", "y", "p"}, {"b", "y", "p"}, {"b", "y", "q"}};
  t.cells = {std::vector<TableCell>(4)};
  const std::string text = render("latex", t);
  EXPECT_THAT(text, HasSubstr(" & \\multicolumn{2}{c}{a} & \\multicolumn{2}{c}{b} \\\\\n\\cmidrule(lr){2-3}\n\\cmidrule(lr){4-5}\n"));
  // y under a and y under b are two groups.
  EXPECT_THAT(text, HasSubstr(" & \\multicolumn{1}{c}{x} & \\multicolumn{1}{c}{y} & \\multicolumn{2}{c}{y} \\\\\n\\cmidrule(lr){4-5}\n"));
}

TEST(Latex, EscapesItsSpecialCharacters) {
  Table t = small_table();
  t.rows[1] = {"50% & a_b", "{x} #1 $ \\ ~ ^"};
  EXPECT_THAT(render("latex", t),
              HasSubstr("50\\% \\& a\\_b & \\{x\\} \\#1 \\$ \\textbackslash{} \\textasciitilde{} \\textasciicircum{} & "));
}

TEST(Csv, RendersTheSmallTable) {
  EXPECT_EQ(render("csv", small_table()),
            "quantization,method,corpus,metric,value,stderr,expected,error\n"
            "full precision,full precision,story,perplexity,5.123456,,5.12,\n"
            "full precision,full precision,story,acc,0.7525,0.0125,,\n"
            "w4g64,rtn,story,perplexity,5.75,,5.7,\n"
            "w4g64,rtn,story,acc,0.7425,0.0125,,\n"
            "w4g64,gptq,story,perplexity,5.25,,5.3,\n"
            "w4g64,gptq,story,acc,0.7375,0.0125,,\n"
            "w2g64,rtn,story,perplexity,123456,,,\n"
            "w2g64,rtn,story,acc,,,,\n"
            "w2g64,gptq,story,perplexity,1234.4,,,\n"
            "w2g64,gptq,story,acc,,,,out of memory\n");
}

TEST(Csv, QuotesAsRfc4180Says) {
  Table t = small_table();
  t.rows[0] = {"a,b", "say \"x\""};
  t.cells[0][0] = {std::nan(""), {}, {}, "", false};
  t.cells[4][1].error = "two\nlines";
  EXPECT_THAT(render("csv", t), HasSubstr("\n\"a,b\",\"say \"\"x\"\"\",story,perplexity,nan,,,\n"));
  EXPECT_THAT(render("csv", t), ::testing::EndsWith(",,,,\"two\nlines\"\n"));
}

TEST(Csv, KeepsEveryDigitAndIgnoresMarksAndNotes) {
  Table a = small_table(), b = small_table();
  b.notes.clear();
  for (auto& row : b.cells)
    for (auto& cell : row) cell.bold = false;
  EXPECT_EQ(render("csv", a), render("csv", b));
  b.cells[1][0].value = std::nextafter(5.75, 6);
  EXPECT_NE(render("csv", a), render("csv", b));
}

TEST(Terminal, RendersTheSmallTable) {
  EXPECT_EQ(render("terminal", small_table()),
            "Table 1\n"
            "                                       story   story\n"
            "quantization    method            perplexity   acc %\n"
            "----------------------------------------------------\n"
            "full precision  full precision  5.12  (5.12)  75.25\n"
            "w4g64           rtn             5.75  (5.70)  74.25*\n"
            "                gptq            5.25* (5.30)  73.75\n"
            "w2g64           rtn                 1.2e+05        —\n"
            "                gptq                   1234*  failed\n"
            "* best of its group\n"
            "128 samples of 512 tokens\n"
            "failed: out of memory [w2g64 gptq / story acc]\n");
}

TEST(AllRenderers, ShowErrorsAndExpectedValuesWhenAsked) {
  RenderOptions plain;
  plain.with_expected = false;
  RenderOptions full;
  full.with_stderr = true;
  for (const char* name : {"markdown", "terminal"}) {
    EXPECT_THAT(render(name, small_table(), plain), ::testing::Not(HasSubstr("(5.70)"))) << name;
    EXPECT_THAT(render(name, small_table(), full), HasSubstr(name == std::string("terminal") ? "73.75  ± 1.25" : "73.75 ± 1.25")) << name;
  }
  EXPECT_THAT(render("latex", small_table(), full), HasSubstr("\\textbf{74.25} $\\pm$ 1.25"));
}

TEST(AllRenderers, EndWithANewlineEvenWithoutRowsOrColumns) {
  Table empty;
  empty.row_levels = {"method"};
  for (const auto& name : RendererRegistry::get().names()) {
    Table t = empty;
    EXPECT_THAT(render(name, t), ::testing::EndsWith("\n")) << name;
    t.rows = {{"rtn"}};
    t.cells = {{}};
    EXPECT_THAT(render(name, t), ::testing::EndsWith("\n")) << name;
  }
}

}  // namespace
}  // namespace ptq

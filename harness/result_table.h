// The experiment's table out of the store's rows.
#pragma once

#include <vector>

#include "harness/experiment.h"
#include "harness/table_statistics.h"
#include "reports/table.h"
#include "results/store.h"

namespace ptq {

// Positions are matched to rows by what they describe (grid.h), so that a table needs neither the model nor
// the data; of several rows of one description (other machine, threads or LibTorch) the latest counts. Axes
// that the layout leaves out: models go to the rows, quantization and methods too, calibration and evaluation
// to the columns, when they have more than one value; seeds are averaged (stderr: of the mean over seeds).
// The metric is the last level beside the evaluation; behind it, with `table.statistics`, the statistic. An
// average is a row or column behind what it is of. Statistics from documents read them by `load`.
Table make_table(const Experiment& experiment, const std::vector<CellRow>& rows,
                 const DocumentLoader& load = {});

}  // namespace ptq

// What every Communicator does, whatever carries it. Each check is called by all ranks of a communicator,
// with the device its tensors are on.
#pragma once

#include <functional>
#include <string>
#include <utility>
#include <vector>

#include <ATen/ATen.h>

#include "core/comm/communicator.h"

namespace ptq::test {

struct Check {
  std::string name;
  std::function<void(Communicator&, const at::Device&)> run;
};

const std::vector<Check>& contract();

// Self, or MPI under mpirun: made when first asked for, ended before main ends.
Communicator& world();

}  // namespace ptq::test

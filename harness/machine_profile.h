// MachineProfile: how fast one rank of a machine does the kinds of work that this program consists of, and
// how fast ranks talk. Measured here by a short calibration (measure_machine), or read from a file about
// another machine (docs/planning.md).
#pragma once

#include <array>
#include <optional>
#include <string>

#include "core/json.h"

namespace ptq {

// Kinds of work, each with its unit. `call`: what one operation costs beside its units.
enum class Kernel : size_t {
  product_float32,
  product_bfloat16,  // flop of x W^T, 8 rows or more
  pack_float32,
  pack_bfloat16,  // weights read and packed, once a product
  skinny_float32,
  skinny_bfloat16,  // weights of a product with fewer rows, from a cache
  stream,           // bytes of such weights that no cache holds
  attention_float32,
  attention_bfloat16,  // flop, of the tiles that are not skipped
  elements_float32,
  elements_bfloat16,  // elements of the hidden size that norms, sums and activations go over
  gram,               // flop of X^T X, upper half
  gemm,               // flop of large float32 products by the library
  update,             // flop of GPTQ's updates of later columns
  factor,             // flop (4/3 n^3) of Cholesky, inverse, Cholesky
  solve,              // multiply-adds of GPTQ's column loop
  range,              // weights whose min-max grid is made
  quantize,           // weights rounded to a grid and back
  candidate,          // weights scaled, rounded on a new grid, scaled back (AWQ's scale search)
  clip,               // weights of one row tile and group, one candidate (AWQ's clip search)
  search,             // weights, one candidate of the mse range
  zero_search,        // weights, one zero point of HQQ's
  leave_out,  // weights times their group's size (SpQR leaves out each of a group in turn); a call: a column
  gradient_float32,
  gradient_bfloat16,  // flop of a block's forward and backward products and attention
  learn,              // weights, one iteration of a learned rounding (apply, chain, move)
  log_softmax,        // logits
  load,               // weights converted when a block is loaded
  dequantize,         // weights made from codes when a block is loaded
  file,               // bytes written, read again, hashed
  count
};
constexpr size_t kernel_count = static_cast<size_t>(Kernel::count);
const std::string& kernel_name(Kernel kernel);

struct KernelRate {
  double per_second = 0;  // units
  double call_s = 0;      // seconds a call
};

struct MachineProfile {
  std::string name;
  double gflops_float32 = 0, gflops_bfloat16 = 0;        // of a rank's matrix products
  double memory_bandwidth_gb_s = 0;                      // of a rank
  double memory_gb = 0;                                  // of a node; 0: unknown
  double link_gb_s = 0, link_latency_s = 0;              // between nodes, one message at a time
  double local_link_gb_s = 0, local_link_latency_s = 0;  // between ranks of a node
  int threads = 1;                                       // of a rank, that the rates hold for
  int cores = 0;  // of a node; 0: a core (or device) for every thread of every rank
  std::array<KernelRate, kernel_count> kernels;
  Json measured;  // what machine and build measured it; null: written by hand

  const KernelRate& operator[](Kernel kernel) const { return kernels[static_cast<size_t>(kernel)]; }
};

// Strict: unknown keys (the message names the nearest), missing or senseless numbers throw UserError that
// names `file`. Rates of kernels that are not given follow from gflops_*, memory_bandwidth_gb_s and call_s by
// ratios measured on one CPU.
MachineProfile machine_from_json(const Json& value, const std::string& file);
Json to_json(const MachineProfile& machine);

// This machine. Measuring takes a few seconds of one thread's processor time; the result holds for one
// thread.
MachineProfile measure_machine();
// What names the machine and build that a stored measurement is good for.
Json machine_identity();
// $XDG_CACHE_HOME/harness/machine.json, else ~/.cache/harness/machine.json; "": neither is set.
std::string machine_file();
// The stored measurement, if it is this machine's and build's.
std::optional<MachineProfile> stored_machine();
// Measured and stored when there is none (`again`: in any case). A folder that cannot be written is no error.
MachineProfile this_machine(bool again = false);
// Where nothing was measured: ratios between kernels are right, seconds roughly.
const MachineProfile& nominal_machine();

}  // namespace ptq

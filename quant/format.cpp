#include "quant/format.h"

#include "core/error.h"

namespace ptq {

const NumberFormat& number_format(const std::string& name) {
  const NumberFormat* format = FormatRegistry::get().find(name);
  PTQ_CHECK(format != nullptr, "no number format is called " + name);
  return *format;
}

NumberFormat float_format(std::string help, const ElementFormat& element) {
  NumberFormat format;
  format.help = std::move(help);
  format.element = element;
  format.least_bits = format.most_bits = format.default_bits = element.bits();
  return format;
}

}  // namespace ptq

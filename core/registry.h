// Named factories, filled before main by one static Registration in each implementation's file, read-only after.
// The same name twice is an error at start. Layers are OBJECT libraries, so that no registration is left out by the linker.
#pragma once

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "core/error.h"

namespace ptq {

template <typename Entry>
class Registry {
 public:
  static const Registry& get() { return instance(); }

  // nullptr when there is none of that name.
  const Entry* find(const std::string& name) const {
    const auto it = entries_.find(name);
    return it == entries_.end() ? nullptr : &it->second;
  }
  std::vector<std::string> names() const {  // sorted
    std::vector<std::string> result;
    for (const auto& [name, entry] : entries_) result.push_back(name);
    return result;
  }

  struct Registration {
    Registration(const std::string& name, Entry entry) {
      if (!instance().entries_.emplace(name, std::move(entry)).second)
        throw InternalError("registered twice: " + name);
    }
  };

 private:
  static Registry& instance() {
    static Registry registry;
    return registry;
  }
  std::map<std::string, Entry> entries_;
};

}  // namespace ptq

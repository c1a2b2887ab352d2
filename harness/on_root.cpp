#include "core/error.h"
#include "core/log.h"
#include "harness/commands.h"

namespace ptq {

int only_on_root(Communicator& comm, const std::function<int()>& f) {
  int code = success;
  if (comm.rank() == 0) try {
      code = f();
    } catch (const UserError& e) {
      log_error(e.what());
      code = user_error;
    } catch (const std::exception& e) {
      log_error(e.what());
      code = internal_error;
    }
  std::string text = std::to_string(code);
  comm.broadcast(text, 0);
  return std::stoi(text);
}

int on_root(Communicator& comm, const std::function<void()>& f) {
  return only_on_root(comm, [&] {
    f();
    return static_cast<int>(success);
  });
}

int on_device(Communicator& comm, const std::string& asked, RankDevice& device) {
  try {
    device = choose_device(comm, asked);
    return success;
  } catch (const UserError& e) {  // all ranks have the same one
    if (comm.rank() == 0) log_error(e.what());
    return user_error;
  }
}

}  // namespace ptq

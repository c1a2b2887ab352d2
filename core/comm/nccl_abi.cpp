// Holds what core/comm/nccl.h declares of NCCL against NCCL's own header, where the build found one
// (cmake/nccl.cmake says so).
#include "core/comm/nccl.h"

#ifdef PTQ_NCCL_HEADER
#include <nccl.h>

#include <cstddef>
#include <type_traits>

namespace ptq {
namespace {

// Passed alike by the C calling convention: an int for an enum, a pointer for a pointer, a struct for one of
// its size.
template <typename T, typename U>
constexpr bool alike =
    sizeof(T) == sizeof(U) && std::is_pointer_v<T> == std::is_pointer_v<U>&& std::is_class_v<T> ==
                                  std::is_class_v<U>;

template <typename R, typename... A, typename S, typename... B>
constexpr bool same_call(R (*)(A...), S (*)(B...)) {
  if constexpr (sizeof...(A) == sizeof...(B)) return alike<R, S> && (alike<A, B> && ...);
  return false;
}
constexpr NcclFunctions none;

static_assert(sizeof(NcclUniqueId) == sizeof(ncclUniqueId));
static_assert(nccl_success == ncclSuccess && nccl_in_progress == ncclInProgress && nccl_uint8 == ncclUint8);
static_assert(nccl_oldest == NCCL_VERSION(2, 14, 0) && NCCL_VERSION_CODE >= nccl_oldest);

constexpr ncclConfig_t theirs = NCCL_CONFIG_INITIALIZER;
constexpr NcclConfig ours;
static_assert(ours.magic == theirs.magic && ours.cga_cluster_size == NCCL_CONFIG_UNDEF_INT &&
              ours.size <= theirs.size);
static_assert(offsetof(NcclConfig, size) == offsetof(ncclConfig_t, size));
static_assert(offsetof(NcclConfig, magic) == offsetof(ncclConfig_t, magic));
static_assert(offsetof(NcclConfig, version) == offsetof(ncclConfig_t, version));
static_assert(offsetof(NcclConfig, blocking) == offsetof(ncclConfig_t, blocking));
static_assert(sizeof(ours.blocking) == sizeof(theirs.blocking));

static_assert(same_call(none.get_version, &ncclGetVersion));
static_assert(same_call(none.get_unique_id, &ncclGetUniqueId));
static_assert(same_call(none.comm_init_rank_config, &ncclCommInitRankConfig));
static_assert(same_call(none.comm_get_async_error, &ncclCommGetAsyncError));
static_assert(same_call(none.comm_abort, &ncclCommAbort));
static_assert(same_call(none.comm_destroy, &ncclCommDestroy));
static_assert(same_call(none.get_error_string, &ncclGetErrorString));
static_assert(same_call(none.get_last_error, &ncclGetLastError));
static_assert(same_call(none.broadcast, &ncclBroadcast));
static_assert(same_call(none.send, &ncclSend));
static_assert(same_call(none.receive, &ncclRecv));

}  // namespace
}  // namespace ptq
#endif

# cmake -DSOURCE=<tree> -DOUTPUT=<header> -DVERSION=<x.y.z> -DLIBTORCH_VERSION=<x.y.z> -P build_info.cmake
# Writes what identifies this build. "-dirty": a tracked file differs from the commit; "unknown": SOURCE is no checkout.
set(COMMIT unknown)
if(EXISTS "${SOURCE}/.git")
  execute_process(COMMAND git --no-optional-locks describe --always --abbrev=40 --exclude=* --dirty
                  WORKING_DIRECTORY "${SOURCE}" OUTPUT_VARIABLE answer OUTPUT_STRIP_TRAILING_WHITESPACE
                  RESULT_VARIABLE failed ERROR_QUIET)
  if(NOT failed AND answer)
    set(COMMIT "${answer}")
  endif()
endif()
file(CONFIGURE OUTPUT "${OUTPUT}" @ONLY CONTENT [=[
inline constexpr const char* build_commit = "@COMMIT@";
inline constexpr const char* build_version = "@VERSION@";
inline constexpr const char* build_libtorch = "@LIBTORCH_VERSION@";
]=])

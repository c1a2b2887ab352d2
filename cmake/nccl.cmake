# NCCL is loaded at run time (core/comm/nccl.h); building needs nothing of it. Where its header and CUDA's are installed,
# core/comm/nccl_abi.cpp compares them with what the program assumes. Looked for: -DCUDA_HEADERS=<dirs>, the wheels
# nvidia-nccl, nvidia-cuda-runtime, nvidia-cuda-nvcc and nvidia-cuda-cccl beside LibTorch, the CUDA toolkit, the system.
set(CUDA_HEADERS "" CACHE STRING "Folders with the headers of NCCL and CUDA, beside the usual ones")

function(ptq_check_nccl_abi file)
  file(GLOB wheels "${LIBTORCH_DIR}/../nvidia/*/include")
  file(GLOB toolkits "/usr/local/cuda*/include")
  set(places ${CUDA_HEADERS} ${wheels} ${toolkits} /usr/include)
  set(found)
  foreach(header nccl.h cuda_runtime.h crt/host_config.h nv/target)
    unset(dir)
    find_path(dir ${header} PATHS ${places} PATH_SUFFIXES cccl NO_DEFAULT_PATH NO_CACHE)
    if(NOT dir)
      message(STATUS "NCCL: the check of its binary interface is skipped: no ${header} in ${places}")
      return()
    endif()
    list(APPEND found "${dir}")
  endforeach()
  list(REMOVE_DUPLICATES found)
  message(STATUS "NCCL: its binary interface is checked against the headers in ${found}")
  set_source_files_properties("${file}" PROPERTIES INCLUDE_DIRECTORIES "${found}" COMPILE_DEFINITIONS PTQ_NCCL_HEADER
                              SKIP_PRECOMPILE_HEADERS ON)
endfunction()

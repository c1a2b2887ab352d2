# LibTorch as imported targets, made by hand: find_package(Torch) asks for nvcc when the wheel is a CUDA one and adds
# search paths of the machine that built it. Nothing here runs Python.
#
# Looked for, in this order: -DLIBTORCH=<dir with include/ and lib/>, the environment's LIBTORCH, the project's .venv
# (tools/setup.sh makes it), a torch 2.11+ installed for the system's python3.
# Defines: target `libtorch`; LIBTORCH_DIR; LIBTORCH_VERSION.

set(LIBTORCH "" CACHE PATH "LibTorch to build against: a folder with include/ and lib/")

function(ptq_libtorch_candidates out)
  set(dirs)
  if(LIBTORCH)
    list(APPEND dirs "${LIBTORCH}")
  elseif(DEFINED ENV{LIBTORCH})
    list(APPEND dirs "$ENV{LIBTORCH}")
  else()
    file(GLOB venv "${CMAKE_SOURCE_DIR}/.venv/lib/python3*/site-packages/torch")
    list(APPEND dirs ${venv})
    file(GLOB installed "/usr/local/lib/python3*/dist-packages/torch" "/usr/local/lib/python3*/site-packages/torch"
         "/usr/lib/python3/dist-packages/torch" "$ENV{VIRTUAL_ENV}/lib/python3*/site-packages/torch"
         "$ENV{HOME}/.local/lib/python3*/site-packages/torch")
    list(APPEND dirs ${installed})
  endif()
  set(${out} ${dirs} PARENT_SCOPE)
endfunction()

ptq_libtorch_candidates(candidates)
foreach(dir ${candidates})
  if(NOT EXISTS "${dir}/include/torch/headeronly/version.h" AND NOT EXISTS "${dir}/include/torch/version.h"
     AND NOT EXISTS "${dir}/include/torch/csrc/api/include/torch/version.h")
    continue()
  endif()
  file(GLOB_RECURSE headers "${dir}/include/torch/headeronly/version.h" "${dir}/include/torch/version.h"
       "${dir}/include/torch/csrc/api/include/torch/version.h")
  set(version)
  foreach(header ${headers})
    file(STRINGS "${header}" lines REGEX "define TORCH_VERSION_(MAJOR|MINOR|PATCH) ")
    string(REGEX MATCHALL "(MAJOR|MINOR|PATCH) +[0-9]+" parts "${lines}")
    string(REGEX REPLACE "(MAJOR|MINOR|PATCH) +" "" parts "${parts}")
    list(JOIN parts "." version)
    if(version)
      break()
    endif()
  endforeach()
  if(version VERSION_LESS 2.11)
    message(STATUS "LibTorch ${version} in ${dir}: too old, 2.11 or newer is needed")
    continue()
  endif()
  set(LIBTORCH_DIR "${dir}")
  set(LIBTORCH_VERSION "${version}")
  break()
endforeach()
if(NOT LIBTORCH_DIR)
  message(FATAL_ERROR "No LibTorch 2.11 or newer. Looked in: ${candidates}. Run tools/setup.sh, or give -DLIBTORCH=<folder "
                      "with include/ and lib/>.")
endif()
message(STATUS "LibTorch ${LIBTORCH_VERSION}: ${LIBTORCH_DIR}")

# harness has no CUDA code of its own: all it needs of a CUDA LibTorch is that its libraries are loaded.
set(libraries torch torch_cpu c10)
if(HARNESS_CUDA)
  if(NOT EXISTS "${LIBTORCH_DIR}/lib/libtorch_cuda.so")
    message(FATAL_ERROR "HARNESS_CUDA=ON needs a CUDA LibTorch: ${LIBTORCH_DIR} has no lib/libtorch_cuda.so. Give one with "
                        "-DLIBTORCH=<folder with include/ and lib/>.")
  endif()
  list(APPEND libraries torch_cuda c10_cuda)
endif()
add_library(libtorch INTERFACE)
target_include_directories(libtorch SYSTEM INTERFACE "${LIBTORCH_DIR}/include"
                                                     "${LIBTORCH_DIR}/include/torch/csrc/api/include")
foreach(name ${libraries})
  add_library(libtorch_${name} SHARED IMPORTED)
  set_target_properties(libtorch_${name} PROPERTIES IMPORTED_LOCATION "${LIBTORCH_DIR}/lib/lib${name}.so")
  target_link_libraries(libtorch INTERFACE libtorch_${name})
endforeach()
if(HARNESS_CUDA)
  # They register themselves, nothing calls them: a linker must not leave them out.
  target_link_options(libtorch INTERFACE "LINKER:--no-as-needed")
endif()
# at::parallel_for is a header template over OpenMP. Two OpenMP runtimes in one process oversubscribe the cores: link
# the one that the wheel brought, and pass -fopenmp to the compiler only (to the linker it would add the system's).
target_compile_options(libtorch INTERFACE -fopenmp)
file(GLOB gomp "${LIBTORCH_DIR}/lib/libgomp*.so*" "${LIBTORCH_DIR}/../torch.libs/libgomp*.so*")
if(gomp)
  list(GET gomp 0 gomp)
  target_link_libraries(libtorch INTERFACE "${gomp}")
else()
  target_link_libraries(libtorch INTERFACE gomp)
endif()

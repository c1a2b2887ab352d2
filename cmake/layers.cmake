# One OBJECT library a layer (so that files which only register themselves are linked), one test binary a layer.

# ptq_layer(<name> [LIBRARIES <lib>...]): every .cpp under the folder, compiled with the shared precompiled ATen header.
function(ptq_layer name)
  cmake_parse_arguments(arg "" "" "LIBRARIES" ${ARGN})
  file(GLOB_RECURSE sources CONFIGURE_DEPENDS "${CMAKE_CURRENT_SOURCE_DIR}/*.cpp")
  if(NOT sources)
    set(sources "${CMAKE_BINARY_DIR}/pch.cpp")
  endif()
  add_library(ptq_${name} OBJECT ${sources})
  target_link_libraries(ptq_${name} PUBLIC ptq_base ${arg_LIBRARIES})
  target_precompile_headers(ptq_${name} REUSE_FROM ptq_pch)
endfunction()

# ptq_layers(<target> <layer>...): links the objects of the layers.
function(ptq_layers target)
  foreach(layer ${ARGN})
    target_link_libraries(${target} PRIVATE ptq_${layer})
  endforeach()
endfunction()

# ptq_test(<name> <layer>...): tests/<name>/*_test.cpp as one gtest program, found by ctest case by case.
function(ptq_test name)
  file(GLOB_RECURSE sources CONFIGURE_DEPENDS "${CMAKE_CURRENT_SOURCE_DIR}/${name}/*_test.cpp")
  if(NOT sources)
    return()
  endif()
  add_executable(${name}_test ${sources})
  target_link_libraries(${name}_test PRIVATE ptq_base GTest::gmock GTest::gtest_main)
  target_precompile_headers(${name}_test REUSE_FROM ptq_pch)
  # The precompiled header is made with -fPIC; with an executable's -fPIE the compiler would leave it aside.
  set_target_properties(${name}_test PROPERTIES POSITION_INDEPENDENT_CODE OFF)
  target_compile_options(${name}_test PRIVATE -fPIC)
  target_compile_definitions(${name}_test PRIVATE PTQ_PROJECT_DIR="${CMAKE_SOURCE_DIR}")
  ptq_layers(${name}_test ${ARGN})
  set_target_properties(${name}_test PROPERTIES RUNTIME_OUTPUT_DIRECTORY "${CMAKE_BINARY_DIR}/tests")
  # Discovered when the tests run: at build time it would start LibTorch once a program.
  gtest_discover_tests(${name}_test DISCOVERY_MODE PRE_TEST DISCOVERY_TIMEOUT 60
                       PROPERTIES TIMEOUT 600 ENVIRONMENT "OMP_NUM_THREADS=1")
endfunction()

# One OBJECT library a layer (so that files which only register themselves are linked), one test binary a layer.

# ptq_layer(<name> [LIBRARIES <lib>...]): every .cpp under the folder, compiled with the shared precompiled ATen header.
function(ptq_layer name)
  cmake_parse_arguments(arg "" "" "LIBRARIES" ${ARGN})
  file(GLOB_RECURSE sources CONFIGURE_DEPENDS "${CMAKE_CURRENT_SOURCE_DIR}/*.cpp")
  add_library(ptq_${name} OBJECT ${sources})
  target_link_libraries(ptq_${name} PUBLIC ptq_base ${arg_LIBRARIES})
  target_precompile_headers(ptq_${name} REUSE_FROM ptq_pch)
endfunction()

# ptq_program(<target> LAYERS <layer>... SOURCES <file>...): an executable with the objects of the layers.
function(ptq_program target)
  cmake_parse_arguments(arg "" "" "LAYERS;SOURCES" ${ARGN})
  add_executable(${target} ${arg_SOURCES})
  target_link_libraries(${target} PRIVATE ptq_base)
  foreach(layer ${arg_LAYERS})
    target_link_libraries(${target} PRIVATE ptq_${layer})
  endforeach()
  target_precompile_headers(${target} REUSE_FROM ptq_pch)
  # The precompiled header is made with -fPIC; with an executable's -fPIE the compiler would leave it aside.
  set_target_properties(${target} PROPERTIES POSITION_INDEPENDENT_CODE OFF)
  target_compile_options(${target} PRIVATE -fPIC)
endfunction()

# ptq_test(<name> <layer>...): tests/<name>/*_test.cpp as one gtest program, found by ctest case by case.
function(ptq_test name)
  file(GLOB_RECURSE sources CONFIGURE_DEPENDS "${CMAKE_CURRENT_SOURCE_DIR}/${name}/*_test.cpp")
  if(NOT sources)
    return()
  endif()
  ptq_program(${name}_test LAYERS ${ARGN} SOURCES ${sources})
  target_link_libraries(${name}_test PRIVATE GTest::gmock GTest::gtest_main)
  target_compile_definitions(${name}_test PRIVATE PTQ_PROJECT_DIR="${CMAKE_SOURCE_DIR}")
  set_target_properties(${name}_test PROPERTIES RUNTIME_OUTPUT_DIRECTORY "${CMAKE_BINARY_DIR}/tests")
  # Discovered when the tests run: at build time it would start LibTorch once a program.
  gtest_discover_tests(${name}_test DISCOVERY_MODE PRE_TEST DISCOVERY_TIMEOUT 60
                       PROPERTIES TIMEOUT 600 ENVIRONMENT "OMP_NUM_THREADS=1")
endfunction()

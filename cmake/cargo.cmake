# The Rust part: a target that runs cargo, and dmapi::dmapi, the library it makes.
# DMAPI_PROFILE: dev (for tests) or release.
set(DMAPI_PROFILE "dev" CACHE STRING "cargo profile: dev or release")
if(DMAPI_PROFILE STREQUAL "dev")
  set(dmapi_directory "debug")
else()
  set(dmapi_directory "${DMAPI_PROFILE}")
endif()
set(DMAPI_BIN "${PROJECT_SOURCE_DIR}/target/${dmapi_directory}")

# The soname's link, which programs in the build tree need; `make install` makes its own.
add_custom_target(cargo ALL
  COMMAND cargo build --locked --profile ${DMAPI_PROFILE}
  COMMAND ${CMAKE_COMMAND} -E create_symlink libdmapi.so ${DMAPI_BIN}/libdmapi.so.1
  WORKING_DIRECTORY ${PROJECT_SOURCE_DIR}
  BYPRODUCTS ${DMAPI_BIN}/libdmapi.so
  USES_TERMINAL)

add_library(dmapi SHARED IMPORTED GLOBAL)
set_target_properties(dmapi PROPERTIES
  IMPORTED_LOCATION ${DMAPI_BIN}/libdmapi.so
  IMPORTED_SONAME libdmapi.so.1
  INTERFACE_INCLUDE_DIRECTORIES ${PROJECT_SOURCE_DIR}/include)
add_dependencies(dmapi cargo)
add_library(dmapi::dmapi ALIAS dmapi)

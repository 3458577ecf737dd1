# -DDMAPI_SANITIZE=address,undefined builds the C programs with them; the library is Rust and is not.
set(DMAPI_SANITIZE "" CACHE STRING "Sanitizers for the C programs, e.g. address,undefined")
if(DMAPI_SANITIZE)
  add_compile_options(-fsanitize=${DMAPI_SANITIZE} -fno-omit-frame-pointer -g)
  add_link_options(-fsanitize=${DMAPI_SANITIZE})
endif()

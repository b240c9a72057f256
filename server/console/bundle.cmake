# Makes of the ASSETS (paths, separated by commas) in OUT_DIR: console_hash.h with the hash over all of them, and an
# index.html whose references go through it (app.js becomes <hash>/app.js). Imports between modules are relative and
# need no change. Run at build time, whenever an asset has changed.
string(REPLACE "," ";" ASSETS "${ASSETS}")
set(names "")
set(digests "")
foreach(file IN LISTS ASSETS)
    get_filename_component(name "${file}" NAME)
    file(SHA256 "${file}" digest)
    string(APPEND digests "${name} ${digest}\n")
    if(name STREQUAL "index.html")
        file(READ "${file}" index)
    else()
        list(APPEND names ${name})
    endif()
endforeach()
string(SHA256 hash "${digests}")
string(SUBSTRING ${hash} 0 16 hash)

# Each file is named once, so that none is loaded late, and none is forgotten.
foreach(name IN LISTS names)
    string(FIND "${index}" "=\"${name}\"" at)
    if(at EQUAL -1)
        message(FATAL_ERROR "index.html does not name ${name}")
    endif()
    string(REPLACE "=\"${name}\"" "=\"${hash}/${name}\"" index "${index}")
endforeach()
string(REGEX MATCH "(src|href)=\"[^/\"]+\"" stray "${index}")
if(stray)
    message(FATAL_ERROR "index.html names a file that is not embedded: ${stray}")
endif()

file(WRITE "${OUT_DIR}/index.html" "${index}")
file(WRITE "${OUT_DIR}/console_hash.h" "/* Made by bundle.cmake. */\n#define CONSOLE_HASH \"${hash}\"\n")

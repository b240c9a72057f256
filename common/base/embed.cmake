# Files that travel in the binary. Included, it offers
#
#     cardea_embed(<target> <symbol> <file>…)
#
# which gives <target> a source that defines the table <symbol> of base_embed.h, made anew whenever one of
# the files changes. Run with -P at build time, it writes that source.
if(NOT CMAKE_SCRIPT_MODE_FILE)
    function(cardea_embed target symbol)
        set(files "")
        foreach(file IN LISTS ARGN)
            get_filename_component(file ${file} ABSOLUTE)
            list(APPEND files ${file})
        endforeach()
        set(out ${CMAKE_CURRENT_BINARY_DIR}/${symbol}.c)
        string(REPLACE ";" "," joined "${files}")
        add_custom_command(
            OUTPUT ${out}
            COMMAND ${CMAKE_COMMAND} -DFILES=${joined} -DSYMBOL=${symbol} -DOUT=${out} -P ${CMAKE_CURRENT_FUNCTION_LIST_FILE}
            DEPENDS ${files} ${CMAKE_CURRENT_FUNCTION_LIST_FILE}
            VERBATIM)
        target_sources(${target} PRIVATE ${out})
    endfunction()
    return()
endif()

string(REPLACE "," ";" FILES "${FILES}")
set(arrays "")
set(rows "")
set(count 0)
foreach(file IN LISTS FILES)
    get_filename_component(name "${file}" NAME)
    file(SHA256 "${file}" digest)
    file(READ "${file}" bytes HEX)
    string(LENGTH "${bytes}" len)
    math(EXPR len "${len} / 2")
    # Arrays of numbers, since C promises no more than 4,095 characters to a string literal.
    string(REGEX REPLACE "(..)" "0x\\1," bytes "${bytes}")
    string(REGEX REPLACE "(................................................................................)"
                         "\\1\n" bytes "${bytes}")
    string(APPEND arrays "static const unsigned char bytes_${count}[] = {\n${bytes}0};\n")
    string(APPEND rows "    {\"${name}\", {(const char *)bytes_${count}, ${len}}, \"${digest}\"},\n")
    math(EXPR count "${count} + 1")
endforeach()
file(WRITE "${OUT}" "/* Made by common/base/embed.cmake. */
#include \"base_embed.h\"

extern const struct base_embedded ${SYMBOL}[];
extern const size_t ${SYMBOL}_count;

${arrays}
const struct base_embedded ${SYMBOL}[] = {
${rows}};
const size_t ${SYMBOL}_count = ${count};
")

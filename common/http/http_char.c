/* SPDX-License-Identifier: Apache-2.0 */
/* The table. Each line is a set of bytes that the grammar treats alike; a byte that is not named
 * (the controls, NUL and DEL) belongs nowhere. */
#include "http_char.h"

#define TEXT   HTTP_CHAR_TEXT
#define TOKEN  (TEXT | HTTP_CHAR_TOKEN)
#define URI    (HTTP_CHAR_PATH | HTTP_CHAR_QUERY)
#define LETTER (TOKEN | URI | HTTP_CHAR_HOST | HTTP_CHAR_TOKEN68)
#define HEX    (LETTER | HTTP_CHAR_HEX)

const uint8_t http_char_classes[256] = {
    ['0' ... '9'] = HEX | HTTP_CHAR_DIGIT,
    ['A' ... 'F'] = HEX,
    ['a' ... 'f'] = HEX,
    ['G' ... 'Z'] = LETTER,
    ['g' ... 'z'] = LETTER,
    ['-'] = LETTER,
    ['.'] = LETTER,
    ['_'] = LETTER,
    ['~'] = LETTER,
    ['!'] = TOKEN | URI,
    ['$'] = TOKEN | URI,
    ['&'] = TOKEN | URI,
    ['\''] = TOKEN | URI,
    ['*'] = TOKEN | URI,
    ['+'] = TOKEN | URI | HTTP_CHAR_TOKEN68,
    ['/'] = TEXT | URI | HTTP_CHAR_TOKEN68,
    ['('] = TEXT | URI,
    [')'] = TEXT | URI,
    [','] = TEXT | URI,
    [':'] = TEXT | URI,
    [';'] = TEXT | URI,
    ['='] = TEXT | URI,
    ['@'] = TEXT | URI,
    ['?'] = TEXT | HTTP_CHAR_QUERY,
    ['#'] = TOKEN,
    ['%'] = TOKEN,
    ['^'] = TOKEN,
    ['`'] = TOKEN,
    ['|'] = TOKEN,
    ['"'] = TEXT,
    ['<'] = TEXT,
    ['>'] = TEXT,
    ['['] = TEXT,
    ['\\'] = TEXT,
    [']'] = TEXT,
    ['{'] = TEXT,
    ['}'] = TEXT,
    ['\t'] = TEXT,
    [' '] = TEXT,
    [0x80 ... 0xff] = TEXT,
};

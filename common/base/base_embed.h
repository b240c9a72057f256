/* SPDX-License-Identifier: Apache-2.0 */
/* A file that travels in the binary: cardea_embed() of embed.cmake makes a table of these, which
 * the code that uses it declares as
 *
 *     extern const struct base_embedded NAME[];
 *     extern const size_t NAME_count;
 */
#ifndef BASE_EMBED_H
#define BASE_EMBED_H

#include "base_span.h"

struct base_embedded {
    const char *name;      /* of the file, without its folder */
    struct base_span text; /* terminated too, behind its length */
    const char *sha256;    /* 64 hex digits: an entity tag to be had for nothing */
};

#endif

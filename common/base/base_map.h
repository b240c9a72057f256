/* SPDX-License-Identifier: Apache-2.0 */
/* uthash's maps, whose tables are allocations of our own: left to itself it ends the process
 * without a word when memory is out. */
#ifndef BASE_MAP_H
#define BASE_MAP_H

#include "base_mem.h"

#define uthash_malloc(size) base_malloc(size)

#include <uthash.h>

#endif

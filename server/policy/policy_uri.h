/* SPDX-License-Identifier: Apache-2.0 */
/* The grammar of URIs, for what clients name as a resource. Pure. */
#ifndef POLICY_URI_H
#define POLICY_URI_H

#include "base_span.h"

/* absolute-URI of RFC 3986 §4.3: a scheme, no fragment. http and https need a host (RFC 9110 §4.2).
 */
bool policy_uri_is_absolute(struct base_span text);

#endif

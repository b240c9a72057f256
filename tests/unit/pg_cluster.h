/* SPDX-License-Identifier: Apache-2.0 */
/* A throwaway PostgreSQL for tests: on a unix socket in a temporary folder, as user postgres when
 * we are root, gone with the test program even when that crashes. With CARDEA_TEST_DATABASE_URL
 * set, databases are made in that server instead, and pg_cluster_signal(), _stop() and _start() do
 * nothing. Whatever goes wrong ends the program with a line that says what. Link the target
 * test_pg_cluster. One thread. */
#ifndef PG_CLUSTER_H
#define PG_CLUSTER_H

#include <stdbool.h>
#include <sys/types.h>

struct pg_cluster;

struct pg_cluster *pg_cluster_new(void);
void pg_cluster_free(struct pg_cluster **cluster);

/* A fresh database, owned by the superuser of the cluster: its connection string, to be freed with
 * free(). */
char *pg_cluster_database(struct pg_cluster *cluster);
/* The same string with another role: the caller has created it. */
char *pg_cluster_as(const char *conninfo, const char *role);
/* Runs statements, waiting; the first column of the first row ("" when there is none), to be freed.
 */
char *pg_cluster_query(const char *conninfo, const char *sql);
/* The same, for statements that must be refused: the SQLSTATE, to be freed; "00000" if they were
 * not. */
char *pg_cluster_sqlstate(const char *conninfo, const char *sql);

/* SQLSTATE, a space, and the name of the constraint that refused ("23514 tenant_id_valid"). */
char *pg_cluster_refusal(const char *conninfo, const char *sql);

/* False with CARDEA_TEST_DATABASE_URL: the server is not ours to stop. */
bool pg_cluster_is_ours(const struct pg_cluster *cluster);
/* The folder of the socket. */
const char *pg_cluster_socket_dir(const struct pg_cluster *cluster);
pid_t pg_cluster_pid(const struct pg_cluster *cluster);
/* SIGSTOP or SIGCONT to the postmaster and every process it has. */
void pg_cluster_signal(struct pg_cluster *cluster, int signal);
/* Immediate shutdown, as in a crash; and up again. Both wait until it is so. */
void pg_cluster_stop(struct pg_cluster *cluster);
void pg_cluster_start(struct pg_cluster *cluster);

#endif

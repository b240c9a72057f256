/* SPDX-License-Identifier: Apache-2.0 */
/* Starts and stops the PostgreSQL of a test program. The server is our child, so that the kernel
 * ends it with us (PR_SET_PDEATHSIG), and everything it writes is under one folder that is removed
 * at the end. */
#include "pg_cluster.h"

#include "base_buf.h"
#include "base_mem.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <libpq-fe.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

struct pg_cluster {
    char dir[64];
    const char *url; /* a server that is not ours; NULL: our own */
    pid_t pid;
    pid_t owner; /* only the process that started the server stops it */
    unsigned n_databases;
};

__attribute__((noreturn)) static void die(const char *what, const char *why)
{
    fprintf(stderr, "pg_cluster: %s: %s\n", what, why);
    exit(1);
}

static const char *bin_dir(void)
{
    static const char *const candidates[] = {
        "/usr/lib/postgresql/15/bin", "/usr/lib/postgresql/17/bin", "/usr/lib/postgresql/16/bin"};

    for (size_t i = 0; i < BASE_COUNT(candidates); i++) {
        if (access(candidates[i], X_OK) == 0)
            return candidates[i];
    }
    die("no PostgreSQL under /usr/lib/postgresql", "apt-get install postgresql");
}

/* PostgreSQL refuses to run as root. */
static void become_postgres(void)
{
    const struct passwd *user;

    if (geteuid() != 0)
        return;
    user = getpwnam("postgres");
    if (!user || setgroups(0, NULL) != 0 || setgid(user->pw_gid) != 0 || setuid(user->pw_uid) != 0)
        die("cannot become user postgres", strerror(errno));
}

static pid_t spawn(const struct pg_cluster *cluster, const char *program, const char *const argv[])
{
    char path[128], log[96];
    pid_t parent = getpid();
    int in, out;
    pid_t pid;

    snprintf(path, sizeof path, "%s/%s", bin_dir(), program);
    snprintf(log, sizeof log, "%s/log", cluster->dir);
    if ((pid = fork()) != 0)
        return pid;
    in = open("/dev/null", O_RDONLY);
    become_postgres();
    out = open(log, O_WRONLY | O_CREAT | O_APPEND, 0600);
    prctl(PR_SET_PDEATHSIG, SIGQUIT);
    if (getppid() != parent)
        _exit(1);
    if (chdir(cluster->dir) != 0 || dup2(in, STDIN_FILENO) < 0 || dup2(out, STDOUT_FILENO) < 0 ||
        dup2(out, STDERR_FILENO) < 0)
        _exit(1);
    signal(SIGPIPE, SIG_DFL);
    execv(path, (char *const *)argv); /* execv() changes nothing behind its pointers */
    _exit(127);
}

static void show_log(const struct pg_cluster *cluster)
{
    char log[96], line[512];
    FILE *file;

    snprintf(log, sizeof log, "%s/log", cluster->dir);
    if (!(file = fopen(log, "r")))
        return;
    while (fgets(line, sizeof line, file))
        fputs(line, stderr);
    fclose(file);
}

static void make_data(struct pg_cluster *cluster)
{
    char data[96];
    const char *const argv[] = {"initdb",
                                "--pgdata",
                                data,
                                "--username=postgres",
                                "--auth=trust",
                                "--encoding=UTF8",
                                "--no-sync",
                                "--locale=C.UTF-8",
                                NULL};
    int status = 0;
    pid_t pid;

    snprintf(data, sizeof data, "%s/data", cluster->dir);
    pid = spawn(cluster, "initdb", argv);
    if (pid < 0 || waitpid(pid, &status, 0) != pid || status != 0) {
        show_log(cluster);
        die("initdb", "failed");
    }
}

void pg_cluster_start(struct pg_cluster *cluster)
{
    char data[96], sockets[96], conninfo[128];
    const char *const argv[] = {"postgres",
                                "-D",
                                data,
                                "-k",
                                sockets,
                                "--listen_addresses=",
                                "--fsync=off",
                                "--shared_buffers=64MB",
                                "--max_connections=200",
                                "--autovacuum=off",
                                "--log_min_messages=fatal",
                                NULL};

    if (cluster->url)
        return;
    snprintf(data, sizeof data, "%s/data", cluster->dir);
    snprintf(sockets, sizeof sockets, "%s", cluster->dir);
    snprintf(conninfo, sizeof conninfo, "host=%s user=postgres dbname=postgres", cluster->dir);
    if ((cluster->pid = spawn(cluster, "postgres", argv)) < 0)
        die("fork", strerror(errno));
    for (int i = 0; i < 6000; i++) {
        if (PQping(conninfo) == PQPING_OK)
            return;
        if (waitpid(cluster->pid, NULL, WNOHANG) == cluster->pid)
            break;
        usleep(10000);
    }
    show_log(cluster);
    die("postgres", "did not start");
}

void pg_cluster_stop(struct pg_cluster *cluster)
{
    if (cluster->pid <= 0 || cluster->owner != getpid())
        return;
    kill(cluster->pid, SIGQUIT);
    kill(cluster->pid, SIGCONT);
    while (waitpid(cluster->pid, NULL, 0) < 0 && errno == EINTR)
        ;
    cluster->pid = 0;
}

/* The children are in sessions of their own, so a process group does not reach them. */
void pg_cluster_signal(struct pg_cluster *cluster, int signal)
{
    char path[64];
    long child;
    FILE *file;

    if (cluster->pid <= 0)
        return;
    snprintf(path, sizeof path, "/proc/%d/task/%d/children", cluster->pid, cluster->pid);
    kill(cluster->pid, signal);
    if (!(file = fopen(path, "r")))
        die(path, strerror(errno));
    while (fscanf(file, "%ld", &child) == 1)
        kill((pid_t)child, signal);
    fclose(file);
}

/* A test that gives up with exit() leaves nothing behind either. */
static struct pg_cluster *latest;

static void free_latest(void)
{
    if (latest)
        pg_cluster_free(&latest);
}

struct pg_cluster *pg_cluster_new(void)
{
    struct pg_cluster *cluster = base_calloc(1, sizeof *cluster);
    const struct passwd *user = getpwnam("postgres");

    cluster->url = getenv("CARDEA_TEST_DATABASE_URL");
    cluster->owner = getpid();
    if (!latest)
        atexit(free_latest);
    latest = cluster;
    if (cluster->url)
        return cluster;
    snprintf(cluster->dir, sizeof cluster->dir, "/tmp/cardea-pg-XXXXXX");
    if (!mkdtemp(cluster->dir))
        die("mkdtemp", strerror(errno));
    if (geteuid() == 0 && (!user || chown(cluster->dir, user->pw_uid, user->pw_gid) != 0))
        die("chown to postgres", strerror(errno));
    make_data(cluster);
    pg_cluster_start(cluster);
    return cluster;
}

/* In a server that is not ours: what we made there goes, connections of a crashed test included. */
static void drop_databases(const struct pg_cluster *cluster)
{
    for (unsigned i = 1; i <= cluster->n_databases; i++) {
        char sql[128], *result;

        snprintf(sql, sizeof sql, "DROP DATABASE IF EXISTS cardea_test_%d_%u WITH (FORCE)",
                 (int)getpid(), i);
        result = pg_cluster_query(cluster->url, sql);
        free(result);
    }
}

void pg_cluster_free(struct pg_cluster **cluster)
{
    pid_t pid;

    if (!*cluster)
        return;
    if (latest == *cluster && cluster != &latest)
        latest = NULL;
    if ((*cluster)->url && (*cluster)->owner == getpid())
        drop_databases(*cluster);
    pg_cluster_stop(*cluster);
    if ((*cluster)->dir[0] && (*cluster)->owner == getpid()) {
        if ((pid = fork()) == 0) {
            execl("/bin/rm", "rm", "-rf", "--", (*cluster)->dir, (char *)NULL);
            _exit(127);
        }
        waitpid(pid, NULL, 0);
    }
    base_free(cluster);
}

bool pg_cluster_is_ours(const struct pg_cluster *cluster)
{
    return !cluster->url;
}

const char *pg_cluster_socket_dir(const struct pg_cluster *cluster)
{
    return cluster->dir;
}

pid_t pg_cluster_pid(const struct pg_cluster *cluster)
{
    return cluster->pid;
}

/* A connection string with one option put in front of the others, or in the place of an older one.
 */
static char *conninfo_with(const char *conninfo, const char *name, const char *value)
{
    char *why = NULL, *text;
    PQconninfoOption *options = PQconninfoParse(conninfo, &why);
    struct base_buf buf;

    if (!options)
        die("connection string", why ? why : "bad");
    base_buf_init(&buf, 4096);
    for (PQconninfoOption *option = options; option->keyword; option++) {
        bool replaced = strcmp(option->keyword, name) == 0;

        if (!replaced && option->val)
            base_buf_putf(&buf, "%s='%s' ", option->keyword, option->val);
    }
    base_buf_putf(&buf, "%s='%s'", name, value);
    text = base_strdup(base_buf_cstr(&buf));
    base_buf_clear(&buf);
    PQconninfoFree(options);
    return text;
}

char *pg_cluster_as(const char *conninfo, const char *role)
{
    return conninfo_with(conninfo, "user", role);
}

char *pg_cluster_database(struct pg_cluster *cluster)
{
    char admin[160], name[64], sql[128], *result, *conninfo;

    snprintf(admin, sizeof admin, "host=%s user=postgres dbname=postgres", cluster->dir);
    snprintf(name, sizeof name, "cardea_test_%d_%u", (int)getpid(), ++cluster->n_databases);
    snprintf(sql, sizeof sql, "CREATE DATABASE %s", name);
    result = pg_cluster_query(cluster->url ? cluster->url : admin, sql);
    free(result);
    conninfo = conninfo_with(cluster->url ? cluster->url : admin, "dbname", name);
    return conninfo;
}

static PGconn *open_conn(const char *conninfo)
{
    PGconn *conn = PQconnectdb(conninfo);

    if (PQstatus(conn) != CONNECTION_OK)
        die("connect", PQerrorMessage(conn));
    return conn;
}

static bool succeeded(const PGresult *result)
{
    return PQresultStatus(result) == PGRES_TUPLES_OK || PQresultStatus(result) == PGRES_COMMAND_OK;
}

char *pg_cluster_query(const char *conninfo, const char *sql)
{
    PGconn *conn = open_conn(conninfo);
    PGresult *result = PQexec(conn, sql);
    char *value;

    if (!succeeded(result))
        die(sql, PQerrorMessage(conn));
    value = base_strdup(PQntuples(result) > 0 ? PQgetvalue(result, 0, 0) : "");
    PQclear(result);
    PQfinish(conn);
    return value;
}

char *pg_cluster_sqlstate(const char *conninfo, const char *sql)
{
    PGconn *conn = open_conn(conninfo);
    PGresult *result = PQexec(conn, sql);
    const char *state = PQresultErrorField(result, PG_DIAG_SQLSTATE);
    char *value = base_strdup(state && !succeeded(result) ? state : "00000");

    PQclear(result);
    PQfinish(conn);
    return value;
}

char *pg_cluster_refusal(const char *conninfo, const char *sql)
{
    PGconn *conn = open_conn(conninfo);
    PGresult *result = PQexec(conn, sql);
    const char *state = PQresultErrorField(result, PG_DIAG_SQLSTATE);
    const char *constraint = PQresultErrorField(result, PG_DIAG_CONSTRAINT_NAME);
    struct base_buf buf;
    char *value;

    base_buf_init(&buf, 256);
    base_buf_putf(&buf, "%s %s", state ? state : "00000", constraint ? constraint : "");
    value = base_strdup(base_buf_cstr(&buf));
    base_buf_clear(&buf);
    PQclear(result);
    PQfinish(conn);
    return value;
}

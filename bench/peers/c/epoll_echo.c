/* The reference of the benchmark: what the kernel allows, with next to nothing on top.
 *
 * Level-triggered epoll, one read per event into the thread's one buffer, written back at once.
 * EPOLLOUT is asked for only while a connection is blocked, and nothing is read from it meanwhile.
 * A thread per worker; they share the port through SO_REUSEPORT.
 *
 *     cc -O2 -pthread -o bench-c epoll_echo.c
 *     bench-c echo|lines ADDRESS WORKERS
 *
 * The app `lines` finds each line, and writes all that one read completes by one call. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { READ_BUFFER = 64 * 1024, LONGEST_LINE = 64 * 1024, EVENTS = 256, BACKLOG = 4096 };

struct connection {
    int fd;
    char *unsent; /* what the kernel did not take yet */
    size_t unsent_length;
    char *partial; /* the app `lines`: the begin of a line */
    size_t partial_length;
};

static int lines_wanted;

static _Noreturn void fail(const char *doing) {
    perror(doing);
    exit(1);
}

/* Replaces the bytes of a queue by others, which may be a part of it. */
static void keep(char **queue, size_t *length, const char *bytes, size_t count) {
    char *kept = NULL;
    if (count > 0) {
        if (!(kept = malloc(count))) fail("cannot keep unsent bytes");
        memcpy(kept, bytes, count);
    }
    free(*queue);
    *queue = kept;
    *length = count;
}

static void close_connection(struct connection *connection) {
    close(connection->fd);
    free(connection->unsent);
    free(connection->partial);
    free(connection);
}

static void want(int epoll, struct connection *connection, uint32_t events) {
    struct epoll_event event = {.events = events, .data.ptr = connection};
    if (epoll_ctl(epoll, EPOLL_CTL_MOD, connection->fd, &event) < 0) fail("epoll_ctl");
}

/* Writes, and keeps what the kernel does not take. Returns -1 if the connection is over. */
static int write_back(int epoll, struct connection *connection, const char *bytes, size_t count) {
    int was_blocked = connection->unsent_length > 0;
    ssize_t sent = send(connection->fd, bytes, count, MSG_NOSIGNAL);
    if (sent < 0) {
        if (errno != EAGAIN && errno != EINTR) return -1;
        sent = 0;
    }
    int is_blocked = (size_t)sent < count;
    if (is_blocked || was_blocked)
        keep(&connection->unsent, &connection->unsent_length, bytes + sent, count - sent);
    if (is_blocked != was_blocked) want(epoll, connection, is_blocked ? EPOLLOUT : EPOLLIN);
    return 0;
}

/* Gathers the lines that `bytes` complete. Returns their length, or -1 if a line is too long. */
static ssize_t complete_lines(struct connection *connection, const char *bytes, size_t count,
                              char *gathered) {
    size_t length = 0;
    const char *end = bytes + count, *line_end;
    while ((line_end = memchr(bytes, '\n', end - bytes))) {
        if (connection->partial_length > 0) {
            memcpy(gathered, connection->partial, connection->partial_length);
            length = connection->partial_length;
            keep(&connection->partial, &connection->partial_length, NULL, 0);
        }
        size_t line = line_end + 1 - bytes;
        memcpy(gathered + length, bytes, line);
        length += line;
        bytes = line_end + 1;
    }
    size_t rest = end - bytes, total = connection->partial_length + rest;
    if (total > LONGEST_LINE) return -1;
    if (rest > 0) {
        char *partial = realloc(connection->partial, total);
        if (!partial) fail("cannot keep the begin of a line");
        memcpy(partial + connection->partial_length, bytes, rest);
        connection->partial = partial;
        connection->partial_length = total;
    }
    return length;
}

/* Serves what an event says. Returns -1 if the connection is over. */
static int serve(int epoll, struct connection *connection, char *buffer, char *gathered) {
    if (connection->unsent_length > 0)
        return write_back(epoll, connection, connection->unsent, connection->unsent_length);
    ssize_t got = recv(connection->fd, buffer, READ_BUFFER, 0);
    if (got < 0) return errno == EAGAIN || errno == EINTR ? 0 : -1;
    if (got == 0) return -1;
    if (!lines_wanted) return write_back(epoll, connection, buffer, got);
    ssize_t length = complete_lines(connection, buffer, got, gathered);
    return length > 0 ? write_back(epoll, connection, gathered, length) : (int)length;
}

static void accept_one(int epoll, int listener) {
    int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0) {
        if (errno != EAGAIN && errno != EINTR && errno != ECONNABORTED) fail("accept");
        return;
    }
    struct connection *connection = calloc(1, sizeof *connection);
    if (!connection) fail("cannot keep a connection");
    connection->fd = fd;
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = connection};
    if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) < 0) fail("epoll_ctl");
}

static _Noreturn void *run(void *argument) {
    int listener = (int)(intptr_t)argument, epoll = epoll_create1(EPOLL_CLOEXEC);
    char *buffer = malloc(READ_BUFFER), *gathered = malloc(READ_BUFFER + LONGEST_LINE);
    struct epoll_event events[EVENTS] = {{.events = EPOLLIN, .data.ptr = NULL}};
    if (epoll < 0 || !buffer || !gathered) fail("cannot start a worker");
    if (epoll_ctl(epoll, EPOLL_CTL_ADD, listener, &events[0]) < 0) fail("epoll_ctl");
    for (;;) {
        int count = epoll_wait(epoll, events, EVENTS, -1);
        if (count < 0 && errno != EINTR) fail("epoll_wait");
        for (int i = 0; i < count; i++) {
            struct connection *connection = events[i].data.ptr;
            if (!connection)
                accept_one(epoll, listener);
            else if (serve(epoll, connection, buffer, gathered) < 0)
                close_connection(connection);
        }
    }
}

/* A listener at `address`, whose port is filled in. Accepted sockets inherit TCP_NODELAY. */
static int listen_at(struct sockaddr_in *address) {
    socklen_t length = sizeof *address;
    int yes = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes) < 0 ||
        setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &yes, sizeof yes) < 0 ||
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes) < 0 ||
        bind(fd, (struct sockaddr *)address, sizeof *address) < 0 || listen(fd, BACKLOG) < 0 ||
        getsockname(fd, (struct sockaddr *)address, &length) < 0)
        fail("cannot listen");
    return fd;
}

static _Noreturn void usage(const char *problem) {
    fprintf(stderr, "%s\nusage: bench-c echo|lines ADDRESS WORKERS\n", problem);
    exit(2);
}

int main(int count, char **words) {
    struct sockaddr_in address = {.sin_family = AF_INET};
    char host[INET_ADDRSTRLEN] = "";
    int port = -1;
    if (count < 4) usage("too few arguments");
    lines_wanted = strcmp(words[1], "lines") == 0;
    if (!lines_wanted && strcmp(words[1], "echo") != 0) usage("no such app here");
    if (sscanf(words[2], "%15[0-9.]:%d", host, &port) != 2 || port < 0 || port > 65535 ||
        inet_pton(AF_INET, host, &address.sin_addr) != 1)
        usage("ADDRESS is to be such as 127.0.0.1:0");
    address.sin_port = htons(port);
    int workers = atoi(words[3]);
    if (workers < 1) usage("WORKERS is to be 1 or more");
    pthread_t thread;
    for (int i = 0; i < workers; i++) {
        int listener = listen_at(&address);
        if (pthread_create(&thread, NULL, run, (void *)(intptr_t)listener)) fail("no thread");
    }
    printf("listening on %s:%d\n", host, ntohs(address.sin_port));
    fflush(stdout);
    pthread_join(thread, NULL);
    return 1;
}

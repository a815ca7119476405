/* The reference of the suite `udp`: what the kernel allows, with next to nothing on top.
 *
 * A thread per worker with a socket that blocks: it waits for one datagram, takes what else is there by the same call
 * (recvmmsg), and sends all of it back by one more (sendmmsg). The sockets share the port through SO_REUSEPORT.
 *
 *     cc -O2 -pthread -o bench-c-datagrams datagram_echo.c
 *     bench-c-datagrams datagrams ADDRESS WORKERS */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

enum { BATCH = 64, LONGEST = 8192 };

static _Noreturn void fail(const char *doing) {
    perror(doing);
    exit(1);
}

/* What the kernel is handed for a batch: each datagram goes back from where it came to be. */
struct batch {
    struct mmsghdr messages[BATCH];
    struct iovec pieces[BATCH];
    struct sockaddr_in peers[BATCH];
    char bytes[BATCH][LONGEST];
};

static void send_back(int fd, struct batch *batch, int count) {
    for (int i = 0; i < count; i++) batch->pieces[i].iov_len = batch->messages[i].msg_len;
    for (int sent = 0; sent < count;) {
        int taken = sendmmsg(fd, batch->messages + sent, count - sent, 0);
        /* One that cannot be sent is lost, and the rest goes on. */
        sent += taken > 0 ? taken : errno != EINTR;
    }
}

static _Noreturn void *run(void *argument) {
    int fd = (int)(intptr_t)argument;
    struct batch *batch = calloc(1, sizeof *batch);
    if (!batch) fail("cannot start a worker");
    for (;;) {
        for (int i = 0; i < BATCH; i++) {
            batch->pieces[i] = (struct iovec){batch->bytes[i], LONGEST};
            batch->messages[i].msg_hdr = (struct msghdr){.msg_name = &batch->peers[i],
                                                         .msg_namelen = sizeof batch->peers[i],
                                                         .msg_iov = &batch->pieces[i],
                                                         .msg_iovlen = 1};
        }
        int count = recvmmsg(fd, batch->messages, BATCH, MSG_WAITFORONE, NULL);
        if (count > 0)
            send_back(fd, batch, count);
        else if (errno != EINTR && errno != ECONNREFUSED)
            fail("recvmmsg");
    }
}

/* A socket at `address`, whose port is filled in. */
static int bind_to(struct sockaddr_in *address) {
    socklen_t length = sizeof *address;
    int yes = 1, fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &yes, sizeof yes) < 0 ||
        bind(fd, (struct sockaddr *)address, sizeof *address) < 0 ||
        getsockname(fd, (struct sockaddr *)address, &length) < 0)
        fail("cannot bind");
    return fd;
}

static _Noreturn void usage(const char *problem) {
    fprintf(stderr, "%s\nusage: bench-c-datagrams datagrams ADDRESS WORKERS\n", problem);
    exit(2);
}

int main(int count, char **words) {
    struct sockaddr_in address = {.sin_family = AF_INET};
    char host[INET_ADDRSTRLEN] = "";
    int port = -1;
    if (count < 4) usage("too few arguments");
    if (strcmp(words[1], "datagrams") != 0) usage("no such app here");
    if (sscanf(words[2], "%15[0-9.]:%d", host, &port) != 2 || port < 0 || port > 65535 ||
        inet_pton(AF_INET, host, &address.sin_addr) != 1)
        usage("ADDRESS is to be such as 127.0.0.1:0");
    address.sin_port = htons(port);
    int workers = atoi(words[3]);
    if (workers < 1) usage("WORKERS is to be 1 or more");
    pthread_t thread;
    for (int i = 0; i < workers; i++) {
        int fd = bind_to(&address);
        if (pthread_create(&thread, NULL, run, (void *)(intptr_t)fd)) fail("no thread");
    }
    printf("listening on %s:%d\n", host, ntohs(address.sin_port));
    fflush(stdout);
    pthread_join(thread, NULL);
    return 1;
}

// The physical floor of bulk: a single-threaded relay of plain TCP, one on each side. It reads and
// writes at most 64 KiB at a time, multiplexes nothing and encrypts nothing.
//
//   relay PORT    takes redirected connections on PORT, connects each to where it was going
//
// cc -O2 -o relay relay.c
#define _GNU_SOURCE
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { CHUNK = 64 << 10 };
struct side {
    struct side *other, *next_dead;    // no other: the listener
    int fd, connecting, read_ended, dead, is_watched;
    unsigned watched;
    char *held;                        // read from the other side, not yet written here
    int held_from, held_to;
};

static int epoll;
static struct side *dead;

static void die(const char *what) { perror(what); exit(1); }
static void watch(struct side *s, unsigned events) {
    struct epoll_event e = {.events = events, .data.ptr = s};
    if (s->is_watched && s->watched == events) return;
    if (epoll_ctl(epoll, s->is_watched ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, s->fd, &e)) die("epoll_ctl");
    s->is_watched = 1, s->watched = events;
}
static void no_delay(int fd) { int on = 1; setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on); }
static int is_held(struct side *s) { return s->held_from < s->held_to; }

// Reads from a side only while the other has taken everything and is connected: nothing piles up.
static void watch_both(struct side *s) {
    for (int i = 0; i < 2; i++, s = s->other) {
        int reads = !s->connecting && !s->other->connecting && !s->read_ended && !is_held(s->other);
        int writes = s->connecting || is_held(s);
        watch(s, (reads ? EPOLLIN : 0) | (writes ? EPOLLOUT : 0));
    }
}
static void end(struct side *s) {
    if (s->dead) return;
    for (int i = 0; i < 2; i++, s = s->other) {
        close(s->fd);
        s->dead = 1, s->next_dead = dead, dead = s;    // later events of this batch may name it
    }
}
static void bury(void) {
    for (struct side *s; (s = dead);) dead = s->next_dead, free(s->held), free(s);
}

static int send_to(struct side *s, const char *bytes, int length) {    // what was taken, or -1
    int n = write(s->fd, bytes, length);
    return n >= 0 ? n : errno == EAGAIN ? 0 : -1;
}
static void read_from(struct side *s) {
    static char chunk[CHUNK];
    int n = read(s->fd, chunk, CHUNK);
    if (n < 0 && errno == EAGAIN) return;
    if (n < 0) { end(s); return; }
    if (n == 0) {
        s->read_ended = 1;
        if (s->other->read_ended) end(s); else shutdown(s->other->fd, SHUT_WR);
        return;
    }
    int taken = send_to(s->other, chunk, n);
    if (taken < 0) { end(s); return; }
    if (taken == n) return;
    if (!s->other->held && !(s->other->held = malloc(CHUNK))) die("malloc");
    memcpy(s->other->held, chunk + taken, n - taken);
    s->other->held_from = 0, s->other->held_to = n - taken;
}
static void write_held(struct side *s) {
    int taken = send_to(s, s->held + s->held_from, s->held_to - s->held_from);
    if (taken < 0) { end(s); return; }
    s->held_from += taken;
    if (!is_held(s)) free(s->held), s->held = NULL, s->held_from = s->held_to = 0;
}
static void ready(struct side *s, unsigned events) {
    if (s->dead) return;
    if (s->connecting) {
        if (events & (EPOLLERR | EPOLLHUP)) { end(s); return; }
        s->connecting = 0;
    }
    if (is_held(s) && events & (EPOLLOUT | EPOLLERR | EPOLLHUP)) write_held(s);
    if (!s->dead && events & (EPOLLIN | EPOLLERR | EPOLLHUP)) {
        if (s->read_ended) { end(s); return; }
        if (!is_held(s->other) && !s->other->connecting) read_from(s);
        else if (events & EPOLLERR) end(s);
    }
    if (!s->dead) watch_both(s);
}

static void accept_one(struct side *listener) {
    int fd = accept4(listener->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0) return;
    struct sockaddr_in destination;
    socklen_t size = sizeof destination;
    struct side *near = calloc(1, sizeof *near), *far = calloc(1, sizeof *far);
    if (!near || !far) die("calloc");
    near->fd = fd, far->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    near->other = far, far->other = near;
    if (getsockopt(fd, SOL_IP, 80 /* SO_ORIGINAL_DST */, &destination, &size)) { end(near); return; }
    no_delay(far->fd);
    far->connecting = connect(far->fd, (void *)&destination, sizeof destination) < 0;
    if (far->connecting && errno != EINPROGRESS) { end(near); return; }
    watch_both(near);
}

int main(int argc, char **argv) {
    if (argc != 2) { fprintf(stderr, "relay PORT\n"); return 2; }
    signal(SIGPIPE, SIG_IGN);
    epoll = epoll_create1(EPOLL_CLOEXEC);
    struct side listener = {.fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)};
    struct sockaddr_in here = {.sin_family = AF_INET, .sin_port = htons(atoi(argv[1]))};
    int on = 1;
    setsockopt(listener.fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    no_delay(listener.fd);             // accepted sockets inherit it
    if (bind(listener.fd, (void *)&here, sizeof here) || listen(listener.fd, 4096)) die("listen");
    watch(&listener, EPOLLIN);
    for (struct epoll_event events[256];;) {
        int n = epoll_wait(epoll, events, 256, -1);
        for (int i = 0; i < n; i++) {
            struct side *s = events[i].data.ptr;
            if (s->other) ready(s, events[i].events); else accept_one(s);
        }
        bury();
    }
}

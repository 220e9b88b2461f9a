// Preloaded into a process: logs what it does to the files below POWER_ROOT, in order.
//
// Records, little-endian:  u8 operation | u64 a | u64 b | u32 length | length bytes
//
//   'W' write       a inode, b offset, the bytes written
//   'D' write       the same, through a descriptor that syncs each write
//   'T' truncate    a inode, b size
//   'P' punch       a inode, b offset; the length, u64
//   'S' sync        a inode (of a file or a directory)
//   'C' create      a directory inode, b inode; the name; a file
//   'M' mkdir       a directory inode, b inode; the name
//   'L' link        a directory inode, b inode; the name
//   'U' unlink      a directory inode; the name (file or directory)
//   'R' rename      a directory inode, b the other directory's; old name, '\0', new name
//   'A' acknowledge the bytes written to the file named POWER_ACK
//
// The log is written without locks on the files themselves, one record at a time.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static int log_fd = -1;
static char root[PATH_MAX], ack[PATH_MAX];
static size_t root_length;

#define REAL(name, type) \
    static type real; \
    if (!real) real = (type)dlsym(RTLD_NEXT, name)

typedef ssize_t (*write_t)(int, const void*, size_t);

static void start(void) {
    if (log_fd >= 0 || !getenv("POWER_LOG")) return;
    snprintf(root, sizeof root, "%s/", getenv("POWER_ROOT"));
    snprintf(ack, sizeof ack, "%s", getenv("POWER_ACK"));
    root_length = strlen(root);
    typedef int (*open_t)(const char*, int, ...);
    open_t real = (open_t)dlsym(RTLD_NEXT, "open");
    log_fd = real(getenv("POWER_LOG"), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
}

static void put(char operation, uint64_t a, uint64_t b, const void* data, uint32_t length) {
    REAL("write", write_t);
    unsigned char head[21];
    head[0] = (unsigned char)operation;
    memcpy(head + 1, &a, 8);
    memcpy(head + 9, &b, 8);
    memcpy(head + 17, &length, 4);
    if (real(log_fd, head, sizeof head) != (ssize_t)sizeof head ||
        (length && real(log_fd, data, length) != (ssize_t)length))
        _exit(99);
}

// The path of a descriptor; 0 where it is none of ours.
static int path_of(int fd, char* out) {
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, out, PATH_MAX - 1);
    if (length <= 0) return 0;
    out[length] = 0;
    return 1;
}

static int inside(const char* path) { return log_fd >= 0 && !strncmp(path, root, root_length); }

static uint64_t inode_of(const char* path) {
    struct stat found;
    return lstat(path, &found) ? 0 : (uint64_t)found.st_ino;
}

static uint64_t parent_of(const char* path, const char** name) {
    static __thread char folder[PATH_MAX];
    snprintf(folder, sizeof folder, "%s", path);
    char* slash = strrchr(folder, '/');
    *slash = 0;
    *name = path + (slash - folder) + 1;
    return inode_of(folder);
}

static void absolute(int dirfd, const char* path, char* out) {
    char folder[PATH_MAX];
    if (path[0] == '/')
        snprintf(out, PATH_MAX, "%s", path);
    else if (dirfd == AT_FDCWD ? !!getcwd(folder, sizeof folder) : path_of(dirfd, folder))
        snprintf(out, PATH_MAX, "%.2000s/%.2000s", folder, path);
    else
        out[0] = 0;
}

static void named(char operation, const char* path) {
    const char* name;
    uint64_t folder = parent_of(path, &name);
    put(operation, folder, operation == 'U' ? 0 : inode_of(path), name, (uint32_t)strlen(name));
}

static void written(int fd, const void* data, size_t size, off_t offset) {
    char path[PATH_MAX];
    if (log_fd < 0 || fd == log_fd || !path_of(fd, path)) return;
    if (!strcmp(path, ack)) {
        put('A', 0, 0, data, (uint32_t)size);
        return;
    }
    struct stat found;
    if (!inside(path) || fstat(fd, &found) || !S_ISREG(found.st_mode)) return;
    int synced = fcntl(fd, F_GETFL) & O_DSYNC;
    put(synced ? 'D' : 'W', (uint64_t)found.st_ino, (uint64_t)offset, data, (uint32_t)size);
}

#define LOCKED(call, after) \
    start(); \
    pthread_mutex_lock(&mutex); \
    __typeof__(call) result = (call); \
    int kept = errno; \
    if (result >= 0) { after; } \
    pthread_mutex_unlock(&mutex); \
    errno = kept; \
    return result

ssize_t write(int fd, const void* data, size_t size) {
    REAL("write", write_t);
    off_t at = log_fd >= 0 ? lseek(fd, 0, SEEK_CUR) : -1;
    if (at >= 0 && (fcntl(fd, F_GETFL) & O_APPEND)) at = lseek(fd, 0, SEEK_END);
    LOCKED(real(fd, data, size), written(fd, data, (size_t)result, at));
}

static ssize_t positioned(const char* name, int fd, const void* data, size_t size, off_t at) {
    typedef ssize_t (*pwrite_t)(int, const void*, size_t, off_t);
    pwrite_t real = (pwrite_t)dlsym(RTLD_NEXT, name);
    LOCKED(real(fd, data, size, at), written(fd, data, (size_t)result, at));
}
ssize_t pwrite(int fd, const void* data, size_t size, off_t at) {
    return positioned("pwrite", fd, data, size, at);
}
ssize_t pwrite64(int fd, const void* data, size_t size, off_t at) {
    return positioned("pwrite64", fd, data, size, at);
}

static void vectored(int fd, const struct iovec* parts, int count, ssize_t size, off_t at) {
    for (int i = 0; i < count && size > 0; i++) {
        ssize_t length = (ssize_t)parts[i].iov_len < size ? (ssize_t)parts[i].iov_len : size;
        written(fd, parts[i].iov_base, (size_t)length, at);
        at += length;
        size -= length;
    }
}

ssize_t writev(int fd, const struct iovec* parts, int count) {
    typedef ssize_t (*writev_t)(int, const struct iovec*, int);
    REAL("writev", writev_t);
    off_t at = log_fd >= 0 ? lseek(fd, 0, SEEK_CUR) : -1;
    LOCKED(real(fd, parts, count), vectored(fd, parts, count, result, at));
}

static ssize_t scattered(const char* name, int fd, const struct iovec* parts, int count, off_t at) {
    typedef ssize_t (*pwritev_t)(int, const struct iovec*, int, off_t);
    pwritev_t real = (pwritev_t)dlsym(RTLD_NEXT, name);
    LOCKED(real(fd, parts, count, at), vectored(fd, parts, count, result, at));
}
ssize_t pwritev(int fd, const struct iovec* parts, int count, off_t at) {
    return scattered("pwritev", fd, parts, count, at);
}
ssize_t pwritev64(int fd, const struct iovec* parts, int count, off_t at) {
    return scattered("pwritev64", fd, parts, count, at);
}

static void on_descriptor(char operation, int fd, uint64_t b) {
    char path[PATH_MAX], slashed[PATH_MAX + 1];
    struct stat found;
    if (log_fd < 0 || !path_of(fd, path)) return;
    snprintf(slashed, sizeof slashed, "%s/", path);
    if ((inside(path) || !strcmp(slashed, root)) && !fstat(fd, &found))
        put(operation, (uint64_t)found.st_ino, b, 0, 0);
}

#define SYNC(name) \
    int name(int fd) { \
        typedef int (*sync_t)(int); \
        REAL(#name, sync_t); \
        LOCKED(real(fd), on_descriptor('S', fd, 0)); \
    }
SYNC(fsync)
SYNC(fdatasync)

#define RESIZE(name) \
    int name(int fd, off_t size) { \
        typedef int (*resize_t)(int, off_t); \
        REAL(#name, resize_t); \
        LOCKED(real(fd, size), on_descriptor('T', fd, (uint64_t)size)); \
    }
RESIZE(ftruncate)
RESIZE(ftruncate64)

#define RESERVE(name, plain) \
    int name(int fd, plain off_t at, off_t size) { \
        typedef int (*reserve_t)(int, off_t, off_t); \
        REAL(#name, reserve_t); \
        LOCKED(real(fd, at, size), if (!result) on_descriptor('T', fd, (uint64_t)(at + size))); \
    }
RESERVE(posix_fallocate, )
RESERVE(posix_fallocate64, )

static void punched(int fd, off_t at, off_t size) {
    char path[PATH_MAX];
    struct stat found;
    uint64_t length = (uint64_t)size;
    if (log_fd >= 0 && path_of(fd, path) && inside(path) && !fstat(fd, &found))
        put('P', (uint64_t)found.st_ino, (uint64_t)at, &length, sizeof length);
}

#define PUNCH(name) \
    int name(int fd, int mode, off_t at, off_t size) { \
        typedef int (*punch_t)(int, int, off_t, off_t); \
        REAL(#name, punch_t); \
        LOCKED(real(fd, mode, at, size), punched(fd, at, size)); \
    }
PUNCH(fallocate)
PUNCH(fallocate64)

static void opened(int existed, const char* path, int flags) {
    if (!inside(path)) return;
    if (!existed && (flags & O_CREAT)) named('C', path);
    else if (existed && (flags & O_TRUNC)) put('T', inode_of(path), 0, 0, 0);
}

static int open_any(const char* name, int dirfd, const char* path, int flags, mode_t mode) {
    typedef int (*openat_t)(int, const char*, int, ...);
    openat_t real = (openat_t)dlsym(RTLD_NEXT, name);
    char whole[PATH_MAX];
    absolute(dirfd, path, whole);
    start();
    int existed = inside(whole) && inode_of(whole) != 0;
    LOCKED(real(dirfd, path, flags, mode), opened(existed, whole, flags));
}

#define MODE \
    mode_t mode = 0; \
    if (flags & (O_CREAT | __O_TMPFILE)) { \
        va_list rest; \
        va_start(rest, flags); \
        mode = va_arg(rest, mode_t); \
        va_end(rest); \
    }
int open(const char* path, int flags, ...) {
    MODE return open_any("openat", AT_FDCWD, path, flags, mode);
}
int open64(const char* path, int flags, ...) {
    MODE return open_any("openat64", AT_FDCWD, path, flags, mode);
}
int openat(int dirfd, const char* path, int flags, ...) {
    MODE return open_any("openat", dirfd, path, flags, mode);
}
int openat64(int dirfd, const char* path, int flags, ...) {
    MODE return open_any("openat64", dirfd, path, flags, mode);
}

static void made(char operation, const char* path) {
    if (inside(path)) named(operation, path);
}

int mkdirat(int dirfd, const char* path, mode_t mode) {
    typedef int (*mkdirat_t)(int, const char*, mode_t);
    REAL("mkdirat", mkdirat_t);
    char whole[PATH_MAX];
    absolute(dirfd, path, whole);
    LOCKED(real(dirfd, path, mode), made('M', whole));
}
int mkdir(const char* path, mode_t mode) { return mkdirat(AT_FDCWD, path, mode); }

int linkat(int fromfd, const char* from, int tofd, const char* to, int flags) {
    typedef int (*linkat_t)(int, const char*, int, const char*, int);
    REAL("linkat", linkat_t);
    char whole[PATH_MAX];
    absolute(tofd, to, whole);
    LOCKED(real(fromfd, from, tofd, to, flags), made('L', whole));
}
int link(const char* from, const char* to) { return linkat(AT_FDCWD, from, AT_FDCWD, to, 0); }

int unlinkat(int dirfd, const char* path, int flags) {
    typedef int (*unlinkat_t)(int, const char*, int);
    REAL("unlinkat", unlinkat_t);
    char whole[PATH_MAX];
    absolute(dirfd, path, whole);
    LOCKED(real(dirfd, path, flags), made('U', whole));
}
int unlink(const char* path) { return unlinkat(AT_FDCWD, path, 0); }
int rmdir(const char* path) { return unlinkat(AT_FDCWD, path, AT_REMOVEDIR); }

static void moved(const char* from, const char* to) {
    if (!inside(from) && !inside(to)) return;
    const char *old, *fresh;
    char names[2 * PATH_MAX];
    uint64_t source = parent_of(from, &old);
    uint64_t target = parent_of(to, &fresh);
    size_t length = strlen(old) + 1;
    memcpy(names, old, length);
    strcpy(names + length, fresh);
    put('R', source, target, names, (uint32_t)(length + strlen(fresh)));
}

int renameat(int fromfd, const char* from, int tofd, const char* to) {
    typedef int (*renameat_t)(int, const char*, int, const char*);
    REAL("renameat", renameat_t);
    char before[PATH_MAX], after[PATH_MAX];
    absolute(fromfd, from, before);
    absolute(tofd, to, after);
    LOCKED(real(fromfd, from, tofd, to), moved(before, after));
}
int rename(const char* from, const char* to) { return renameat(AT_FDCWD, from, AT_FDCWD, to); }

// Preloaded into a process, where calls that LMDB makes can be made to fail.
//
//   fail_sync(code, after)      after so many calls of fdatasync the next one fails
//   fail_record(code, stage)    the next write of the record of a commit fails: one through a
//                               descriptor that syncs each write (O_DSYNC)
//        stage 0  nothing was written
//        stage 1  it was written; LMDB then puts the old record back
//        stage 2  it was written, and putting back the old one fails too
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/types.h>
#include <unistd.h>

static int sync_code, sync_left = -1, record_code, record_stage = -1, keep;

void fail_sync(int code, int after) {
    sync_code = code;
    sync_left = after;
}

void fail_record(int code, int stage) {
    record_code = code;
    record_stage = stage;
}

int fdatasync(int descriptor) {
    static int (*real)(int);
    if (!real) real = (int (*)(int))dlsym(RTLD_NEXT, "fdatasync");
    if (sync_left >= 0 && sync_left-- == 0) {
        errno = sync_code;
        return -1;
    }
    return real(descriptor);
}

static ssize_t write_at(const char *name, int descriptor, const void *data, size_t size,
                        off_t offset) {
    ssize_t (*real)(int, const void *, size_t, off_t) =
        (ssize_t (*)(int, const void *, size_t, off_t))dlsym(RTLD_NEXT, name);
    if (keep) {  // what follows a record that failed
        keep = 0;
        errno = EIO;
        return -1;
    }
    if (record_stage >= 0 && (fcntl(descriptor, F_GETFL) & O_DSYNC)) {
        int stage = record_stage;
        record_stage = -1;
        keep = stage == 2;
        if (stage > 0 && real(descriptor, data, size, offset) < 0) return -1;
        errno = record_code;
        return -1;
    }
    return real(descriptor, data, size, offset);
}

ssize_t pwrite(int descriptor, const void *data, size_t size, off_t offset) {
    return write_at("pwrite", descriptor, data, size, offset);
}

ssize_t pwrite64(int descriptor, const void *data, size_t size, off_t offset) {
    return write_at("pwrite64", descriptor, data, size, offset);
}

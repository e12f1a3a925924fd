/* Lets User Mode Linux run on processors whose register state is larger than it knows (AMX: 11008 bytes instead of 2696).
 *
 * UML 6.1 keeps the first 2696 bytes of a guest process's extended state (x87, SSE, AVX, AVX-512, protection keys) and hands
 * them back with PTRACE_SETREGSET. The host's kernel accepts the whole state only and answers EFAULT, and the guest panics
 * in its first process. This library, preloaded into UML, completes what is handed back: the part that UML doesn't know is
 * read from the process and stays as it is. Guest processes can't switch AMX on, so nothing is ever in it.
 *
 * Built and preloaded by e2e/vm/run where it is needed. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <elf.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/types.h>
#include <sys/uio.h>

/* Where the set of components that hold something (XSTATE_BV) is, and the components that UML's part covers: 0 to 9. */
enum { XSTATE_BV = 512, COVERED = 0x3ff };

/* UML has one thread that traces, and a small stack there. */
static unsigned char whole[64 * 1024] __attribute__((aligned(64)));

typedef long (*ptrace_call)(int request, pid_t pid, void *address, void *data);

long ptrace(enum __ptrace_request request, ...) {
    static ptrace_call call;
    if (!call) call = (ptrace_call)dlsym(RTLD_NEXT, "ptrace");
    va_list arguments;
    va_start(arguments, request);
    pid_t pid = va_arg(arguments, pid_t);
    void *address = va_arg(arguments, void *);
    void *data = va_arg(arguments, void *);
    va_end(arguments);
    if (request == PTRACE_SETREGSET && (uintptr_t)address == NT_X86_XSTATE) {
        const struct iovec *given = data;
        struct iovec all = {whole, sizeof whole};
        if (call(PTRACE_GETREGSET, pid, address, &all) == 0 && given->iov_len > XSTATE_BV + 8 && given->iov_len < all.iov_len) {
            memcpy(whole, given->iov_base, given->iov_len);
            uint64_t held;
            memcpy(&held, whole + XSTATE_BV, sizeof held);
            held &= COVERED;
            memcpy(whole + XSTATE_BV, &held, sizeof held);
            return call(request, pid, address, &all);
        }
    }
    return call(request, pid, address, data);
}

#include "kernel_device.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>

#include "../abi/nvmm.h"

namespace nvmm {

// By default ignored and of no other use in a Node process (libuv watches sockets by other means).
const int kKickSignal = SIGURG;

int netbsdErrno(int error) {
  switch (error) {
    case 0: return netbsd::kOK;
    case EPERM: return netbsd::kPERM;
    case ENOENT: return netbsd::kNOENT;
    case ESRCH: return netbsd::kSRCH;
    case EINTR: return netbsd::kINTR;
    case ENXIO: return netbsd::kNXIO;
    case EBADF: return netbsd::kBADF;
    case EDEADLK: return netbsd::kDEADLK;
    case ENOMEM: return netbsd::kNOMEM;
    case EACCES: return netbsd::kACCES;
    case EFAULT: return netbsd::kFAULT;
    case EBUSY: return netbsd::kBUSY;
    case EEXIST: return netbsd::kEXIST;
    case EXDEV: return netbsd::kXDEV;
    case ENODEV: return netbsd::kNODEV;
    case ENOTDIR: return netbsd::kNOTDIR;
    case EISDIR: return netbsd::kISDIR;
    case EINVAL: return netbsd::kINVAL;
    case ENFILE: return netbsd::kNFILE;
    case EMFILE: return netbsd::kMFILE;
    case ENOTTY: return netbsd::kNOTTY;
    case ESPIPE: return netbsd::kSPIPE;
    case EAGAIN: return netbsd::kAGAIN;
    case EOPNOTSUPP: return netbsd::kOPNOTSUPP;
    case ENOBUFS: return netbsd::kNOBUFS;
    case ELOOP: return netbsd::kLOOP;
    case ENAMETOOLONG: return netbsd::kNAMETOOLONG;
    case ENOSYS: return netbsd::kNOSYS;
    default: return netbsd::kIO;
  }
}

static int answer(int result) { return result == -1 ? netbsdErrno(errno) : netbsd::kOK; }

int KernelDevice::open(const char* path, Access access, int* fd) {
  *fd = ::open(path, (access == Access::Root ? O_WRONLY : O_RDONLY) | O_CLOEXEC);
  return answer(*fd);
}

int KernelDevice::close(int fd) { return answer(::close(fd)); }

int KernelDevice::ioctl(int fd, uint32_t request, void* argument) {
  return answer(::ioctl(fd, static_cast<unsigned long>(request), argument));
}

int KernelDevice::mapComm(int fd, uint64_t offset, void** page) {
  *page = ::mmap(nullptr, abi::kPageSize, PROT_READ | PROT_WRITE, MAP_SHARED, fd, static_cast<off_t>(offset));
  return *page == MAP_FAILED ? netbsdErrno(errno) : netbsd::kOK;
}

void KernelDevice::kick(pthread_t thread) { pthread_kill(thread, kKickSignal); }

static void ignoreKick(int) {}

void installKickHandler() {
  struct sigaction current;
  if (sigaction(kKickSignal, nullptr, &current) != 0) return;
  // A handler that the program has put there interrupts the system call just as well.
  if (current.sa_handler != SIG_DFL && current.sa_handler != SIG_IGN) return;
  struct sigaction kick = {};
  kick.sa_handler = ignoreKick;
  sigemptyset(&kick.sa_mask);
  sigaction(kKickSignal, &kick, nullptr);
}

}  // namespace nvmm

// The system around the driver, as far as a caller sees it: the node, descriptors, system calls and their errnos.
#include <sys/mman.h>
#include <unistd.h>

#include <atomic>
#include <cstring>
#include <mutex>
#include <unordered_map>

#include "../mock_device.h"
#include "copy.h"
#include "descriptors.h"
#include "driver.h"

namespace nvmm::mock {

using namespace abi;

namespace {

// NetBSD's numbers.
constexpr uint64_t kFioclex = 0x20006601, kFionclex = 0x20006602;
constexpr int kProtRead = 1, kProtWrite = 2, kProtExec = 4;
constexpr int kMapShared = 1, kMapPrivate = 2;
constexpr int kGetFd = 1, kSetFd = 2, kGetFl = 3, kSetFl = 4, kGetPath = 15;  // fcntl(2)
constexpr unsigned kForDriver = 0x80000000;                                   // what it passes on

int hostProt(int prot) {
  return (prot & kProtRead ? PROT_READ : 0) | (prot & kProtWrite ? PROT_WRITE : 0) | (prot & kProtExec ? PROT_EXEC : 0);
}

class SoftwareDevice final : public MockDevice {
 public:
  explicit SoftwareDevice(const Options& options)
      : pid_(static_cast<int32_t>(::getpid())), driver_(std::make_shared<Driver>(options)) {}
  SoftwareDevice(SoftwareDevice& parent, int32_t pid)
      : pid_(pid), descriptors_(parent.descriptors_), driver_(parent.driver_) {}

  int open(const char* path, Access access, int* fd) override {
    return openRaw(path, kCloexec | (access == Access::Root ? kWriteOnly : 0), 0, fd);
  }

  int openRaw(const char* path, int flags, uint32_t minor, int* fd) override {
    *fd = -1;
    if ((flags & kAccessMode) == kAccessMode) return netbsd::kINVAL;
    if (std::strcmp(path, kDevicePath) != 0 && minor == 0) return netbsd::kNOENT;
    if (!driver_->hasBackend()) return netbsd::kNXIO;
    if (minor != 0) return netbsd::kXDEV;
    if (!(flags & kCloexec)) return netbsd::kINVAL;
    if (const int error = driver_->plan().error(kOpen)) return error;
    return descriptors_.open(flags, pid_, fd);
  }

  int dup(int fd, int* duplicate) override { return descriptors_.duplicate(fd, duplicate); }

  int close(int fd) override {
    uint64_t owner;
    const int error = descriptors_.close(fd, &owner);
    if (owner > kCutOff) driver_->closeOwner(owner);
    return error;
  }

  int ioctl(int fd, uint32_t request, void* argument) override {
    const uint64_t owner = descriptors_.owner(fd);
    if (owner <= kCutOff) return withoutOwner(owner, request);
    if (request == NVMM_IOC_MACHINE_CREATE) return createMachine(fd, *static_cast<nvmm_ioc_machine_create*>(argument));
    return driver_->ioctl(owner, request, argument);
  }

  int ioctlRaw(int fd, uint64_t request, void* argument) override;

  int mapComm(int fd, uint64_t offset, void** page) override {
    const uint64_t owner = descriptors_.owner(fd);
    if (owner <= kCutOff) return netbsd::kBADF;
    return driver_->mapComm(owner, offset, PROT_READ | PROT_WRITE, true, page);
  }

  int mmapRaw(int fd, uint64_t offset, size_t length, int prot, int flags, void** address) override;

  int read(int fd, void*, size_t, int64_t*) override {
    return descriptors_.with(
        fd, [](OpenFile& file, bool&) { return file.readable() ? netbsd::kOPNOTSUPP : netbsd::kBADF; });
  }

  int write(int fd, const void*, size_t, int64_t*) override {
    return descriptors_.with(
        fd, [](OpenFile& file, bool&) { return file.writable() ? netbsd::kOPNOTSUPP : netbsd::kBADF; });
  }

  int fstat(int fd) override { return ifOpen(fd, netbsd::kOPNOTSUPP); }

  int poll(int fd, int64_t* events) override {
    *events = 0;
    return ifOpen(fd, netbsd::kOK);
  }

  int lseek(int fd, int64_t*) override { return ifOpen(fd, netbsd::kSPIPE); }

  int fcntl(int fd, int command, int64_t argument, int64_t* result) override;

  int mprotect(void* address, size_t length, int prot) override;

  std::shared_ptr<RawDevice> fork() override { return std::make_shared<SoftwareDevice>(*this, pid_ + ++children_); }

  void exit() override {
    for (const int fd : descriptors_.numbers()) close(fd);
  }

  int32_t pid() const override { return pid_; }

  void kick(pthread_t thread) override { driver_->kick(thread); }

  Counters counters() const override { return driver_->counters(); }

  void plan(unsigned operation, uint64_t nth, const Fault& fault) override {
    driver_->plan().add(operation, nth, fault);
  }

  int reset() override {
    return driver_->reset([&] { descriptors_.cutOff(); });
  }

 private:
  int ifOpen(int fd, int answer) const { return descriptors_.owner(fd) == kNobody ? netbsd::kBADF : answer; }

  // What was made through a descriptor that is cut off is gone: to take it away succeeds.
  static int withoutOwner(uint64_t owner, uint32_t request) {
    const bool takesAway =
        request == NVMM_IOC_MACHINE_DESTROY || request == NVMM_IOC_VCPU_DESTROY || request == NVMM_IOC_GPA_UNMAP;
    return owner == kCutOff && takesAway ? netbsd::kOK : netbsd::kBADF;
  }

  int createMachine(int fd, nvmm_ioc_machine_create& argument) {
    const auto file = descriptors_.file(fd);
    if (!file) return netbsd::kBADF;
    uint32_t machid;
    if (const int error = driver_->createMachine({file->owner, file->pid}, &machid)) return error;
    // Closed meanwhile: the close may have passed this machine's slot before it was taken.
    if (!descriptors_.isConnected(*file)) return driver_->closeOwner(file->owner), netbsd::kBADF;
    argument.machid = machid;
    return netbsd::kOK;
  }

  const int32_t pid_;
  std::atomic<int32_t> children_{0};
  Descriptors descriptors_;
  const std::shared_ptr<Driver> driver_;  // of the whole system

  // What mmapRaw was asked for by address: the most that mprotect may grant, which the host does not remember.
  std::mutex pagesMutex_;
  std::unordered_map<uintptr_t, int> maxProt_;
};

int SoftwareDevice::ioctlRaw(int fd, uint64_t request, void* argument) {
  if (request == kFioclex || request == kFionclex) {
    return descriptors_.with(fd, [&](OpenFile&, bool& closeOnExec) {
      closeOnExec = request == kFioclex;
      return netbsd::kOK;
    });
  }
  if (descriptors_.owner(fd) == kNobody) return netbsd::kBADF;
  const size_t size = request >> kIocParmShift & kIocParmMask;
  alignas(16) uint8_t buffer[kPageSize];
  if (size > sizeof buffer) return netbsd::kNOTTY;
  if (request & kIocIn) {
    if (!copyIn(buffer, argument, size)) return netbsd::kFAULT;
  } else {
    std::memset(buffer, 0, size);
  }
  // The driver compares all bits: one above 31 makes a request unknown.
  const int error = request >> 32 ? netbsd::kINVAL : ioctl(fd, static_cast<uint32_t>(request), buffer);
  if (error == netbsd::kOK && request & kIocOut && !copyOut(buffer, argument, size)) return netbsd::kFAULT;
  return error;
}

int SoftwareDevice::mmapRaw(int fd, uint64_t offset, size_t length, int prot, int flags, void** address) {
  const uint64_t owner = descriptors_.owner(fd);
  if (owner <= kCutOff) return netbsd::kBADF;
  const size_t pageOffset = offset % kPageSize;
  const bool isPrivate = flags & kMapPrivate;
  if (length == 0 || (flags & kMapShared && isPrivate)) return netbsd::kINVAL;
  if (prot & kProtExec) return netbsd::kACCES;
  if (length > kPageSize - pageOffset) return netbsd::kINVAL;
  const int protection = hostProt(prot);
  if (const int error = driver_->mapComm(owner, offset, protection, flags & kMapShared, address)) return error;
  {
    std::lock_guard<std::mutex> guard(pagesMutex_);
    maxProt_[reinterpret_cast<uintptr_t>(*address)] = protection;
  }
  *address = static_cast<uint8_t*>(*address) + pageOffset;
  return netbsd::kOK;
}

int SoftwareDevice::mprotect(void* address, size_t length, int prot) {
  const int protection = hostProt(prot);
  {
    std::lock_guard<std::mutex> guard(pagesMutex_);
    const auto page = maxProt_.find(reinterpret_cast<uintptr_t>(address));
    if (page != maxProt_.end() && protection & ~page->second) return netbsd::kACCES;
  }
  return ::mprotect(address, length, protection) == 0 ? netbsd::kOK : netbsd::kINVAL;
}

int SoftwareDevice::fcntl(int fd, int command, int64_t argument, int64_t* result) {
  return descriptors_.with(fd, [&](OpenFile& file, bool& closeOnExec) -> int {
    *result = 0;
    switch (command) {
      case kGetFd: *result = closeOnExec; return netbsd::kOK;
      case kSetFd: closeOnExec = argument & 1; return netbsd::kOK;
      case kGetFl: *result = file.flags; return netbsd::kOK;
      case kSetFl:
        // What changes these reaches the driver as FIONBIO or FIOASYNC, which it does not know.
        if ((argument ^ file.flags) & (kNonblock | kAsync)) return netbsd::kINVAL;
        file.flags = (file.flags & ~kAppend) | (static_cast<int>(argument) & kAppend);
        return netbsd::kOK;
      case kGetPath: return netbsd::kOPNOTSUPP;
      default: return static_cast<unsigned>(command) & kForDriver ? netbsd::kOPNOTSUPP : netbsd::kINVAL;
    }
  });
}

}  // namespace

std::shared_ptr<MockDevice> makeMockDevice(const Options& options) { return std::make_shared<SoftwareDevice>(options); }

}  // namespace nvmm::mock

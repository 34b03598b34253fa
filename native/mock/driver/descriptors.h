// The open files of the device, and the descriptors of a process that refer to them.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <vector>

#include "../../abi/netbsd_errno.h"
#include "driver.h"

namespace nvmm::mock {

// NetBSD's open(2) flags.
constexpr int kAccessMode = 3, kWriteOnly = 1, kNonblock = 4, kAppend = 8, kAsync = 0x40, kCloexec = 0x400000;

struct OpenFile {
  uint64_t owner;
  int32_t pid;  // of the opener; 0 for the root owner
  int flags;    // guarded by OpenFiles::mutex, like the rest
  unsigned descriptors;
  bool cutOff;

  bool readable() const { return (flags & kAccessMode) != kWriteOnly; }
  bool writable() const { return (flags & kAccessMode) != 0; }
};

// What all processes have in common.
struct OpenFiles {
  std::mutex mutex;
  uint64_t nextOwner = kRootOwner + 1;
};

class Descriptors {
 public:
  Descriptors() : files_(std::make_shared<OpenFiles>()) {}
  // Those of a child process: the same numbers refer to the same files.
  explicit Descriptors(Descriptors& parent);

  // Both take the lowest free number, and answer an errno.
  int open(int flags, int32_t pid, int* fd);
  int duplicate(int fd, int* duplicate);
  // EBADF where fd is not open. `*lastOf`: whose machines go with it, where no descriptor refers to the file any more.
  int close(int fd, uint64_t* lastOf);
  // Leaves every descriptor open, but nothing behind it.
  void cutOff();

  // Without a lock.
  uint64_t owner(int fd) const {
    return valid(fd) ? table_[fd - kFirst].owner.load(std::memory_order_acquire) : kNobody;
  }
  // Null where fd is not open.
  std::shared_ptr<OpenFile> file(int fd);
  bool isConnected(const OpenFile& file);  // neither closed nor cut off

  // The numbers that are open.
  std::vector<int> numbers();

  // Calls `use` with the file and its close-on-exec flag, under the mutex.
  template <class Use>
  int with(int fd, Use use) {
    std::lock_guard<std::mutex> guard(files_->mutex);
    if (!valid(fd) || !table_[fd - kFirst].file) return netbsd::kBADF;
    Descriptor& descriptor = table_[fd - kFirst];
    return use(*descriptor.file, descriptor.closeOnExec);
  }

 private:
  struct Descriptor {
    std::atomic<uint64_t> owner{kNobody};
    std::shared_ptr<OpenFile> file;
    bool closeOnExec = false;
  };

  static constexpr int kFirst = 3;  // as in a process with its three standard streams
  static constexpr int kCount = 1024;

  static bool valid(int fd) { return fd >= kFirst && fd < kFirst + kCount; }
  int install(const std::shared_ptr<OpenFile>& file, bool closeOnExec, int* fd);

  const std::shared_ptr<OpenFiles> files_;
  std::array<Descriptor, kCount> table_;
};

}  // namespace nvmm::mock

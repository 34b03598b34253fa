#include "host_object.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cstdio>

namespace nvmm::mock {

namespace {

#if defined(__linux__) && defined(MFD_CLOEXEC)

// Not shm_open: what backs that is small in containers.
int openMemory() { return ::memfd_create("nvmm", MFD_CLOEXEC); }

#else

int openMemory() {
  static std::atomic<unsigned> count{0};
  char name[32];
  std::snprintf(name, sizeof name, "/nvmm-%ld-%u", static_cast<long>(::getpid()), count++);
  const int descriptor = ::shm_open(name, O_RDWR | O_CREAT | O_EXCL, 0600);
  if (descriptor != -1) ::shm_unlink(name);
  return descriptor;
}

#endif

}  // namespace

std::shared_ptr<HostObject> HostObject::create(uint64_t size) {
  std::shared_ptr<HostObject> object(new HostObject);
  object->descriptor_ = openMemory();
  if (object->descriptor_ == -1 || ::ftruncate(object->descriptor_, static_cast<off_t>(size)) != 0) return nullptr;
  void* base = object->map(nullptr, 0, size, PROT_READ | PROT_WRITE, true);
  if (!base) return nullptr;
  object->base_ = static_cast<uint8_t*>(base);
  object->size_ = size;
  return object;
}

HostObject::~HostObject() {
  closeDescriptor();
  if (base_) ::munmap(base_, size_);
}

uint64_t HostObject::granularity() {
  static const auto size = static_cast<uint64_t>(::sysconf(_SC_PAGESIZE));
  return size;
}

void* HostObject::map(void* at, uint64_t offset, size_t size, int prot, bool shared) const {
  const int flags = (shared ? MAP_SHARED : MAP_PRIVATE) | (at ? MAP_FIXED : 0) | MAP_NORESERVE;
  void* address = ::mmap(at, size, prot, flags, descriptor_, static_cast<off_t>(offset));
  return address == MAP_FAILED ? nullptr : address;
}

void HostObject::closeDescriptor() {
  if (descriptor_ != -1) ::close(descriptor_);
  descriptor_ = -1;
}

}  // namespace nvmm::mock

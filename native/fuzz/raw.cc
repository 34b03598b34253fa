// The raw entry, by which the golden scenarios reach a device: requests with all 64 bits, arguments at addresses that
// may be none, system calls other than ioctl; and their access to memory by address.
#include "driver_session.h"
#include "raw/memory.h"

namespace nvmm::fuzz {
namespace {

constexpr uint32_t kRequests[] = {
    NVMM_IOC_CAPABILITY,      NVMM_IOC_MACHINE_CREATE,
    NVMM_IOC_MACHINE_DESTROY, NVMM_IOC_MACHINE_CONFIGURE,
    NVMM_IOC_VCPU_CREATE,     NVMM_IOC_VCPU_DESTROY,
    NVMM_IOC_VCPU_CONFIGURE,  NVMM_IOC_VCPU_SETSTATE,
    NVMM_IOC_VCPU_GETSTATE,   NVMM_IOC_VCPU_INJECT,
    NVMM_IOC_VCPU_RUN,        NVMM_IOC_GPA_MAP,
    NVMM_IOC_GPA_UNMAP,       NVMM_IOC_CTL,
};

// In the region, at its ends, or nowhere.
void* address(Session& session, Input& in) {
  const unsigned choice = in.take<uint8_t>();
  if (choice < 160) return session.region().bytes() + 16 * choice;
  if (choice < 192) return reinterpret_cast<void*>(session.region().end() - choice % 32);
  if (choice < 224) return reinterpret_cast<void*>(session.region().begin() - choice % 32);
  return wildPointer(in);
}

// Known ones, or with one bit changed, or any; but never those that change the process's mappings.
uint64_t request(Input& in) {
  uint64_t number = kRequests[in.below(std::size(kRequests))];
  const unsigned choice = in.take<uint8_t>();
  if (choice >= 192) number ^= uint64_t{1} << choice % 64;
  if (choice == 191) number = in.take<uint64_t>();
  const auto low = static_cast<uint32_t>(number);
  return low == NVMM_IOC_HVA_MAP || low == NVMM_IOC_HVA_UNMAP ? NVMM_IOC_CAPABILITY : number;
}

void call(Session& session, Input& in) {
  uint8_t argument[80] = {};
  const uint32_t ids[] = {session.machine(), session.vcpu()};
  std::memcpy(argument, ids, sizeof ids);
  in.take(argument + 8, in.below(64));
  // The pointers of a struct are its second or third field.
  if (const unsigned field = in.below(4); field == 1 || field == 2) {
    const auto pointer = reinterpret_cast<uint64_t>(address(session, in));
    std::memcpy(argument + 8 * field, &pointer, sizeof pointer);
  }
  void* const at = address(session, in);
  store(reinterpret_cast<uintptr_t>(at), argument, sizeof argument);
  session.device().ioctlRaw(session.file(), request(in), at);
}

void map(Session& session, Input& in) {
  void* page = nullptr;
  const uint64_t offset = in.below(4) ? commOffset(session.machine(), session.vcpu()) : in.take<uint64_t>();
  const uint64_t length = in.below(4) ? kPageSize : in.take<uint64_t>();
  const int prot = static_cast<int>(in.below(8)), flags = static_cast<int>(in.below(4));
  if (session.device().mmapRaw(session.file(), offset, length, prot, flags, &page) != netbsd::kOK) return;
  session.device().mprotect(page, kPageSize, PROT_READ | static_cast<int>(in.below(8)));
  uint8_t byte;
  load(reinterpret_cast<uintptr_t>(page), &byte, 1);
  store(reinterpret_cast<uintptr_t>(page), &byte, 1);
  const auto begin = reinterpret_cast<uintptr_t>(page) & ~(kPageSize - 1);
  ::munmap(reinterpret_cast<void*>(begin), kPageSize);
}

void open(Session& session, Input& in) {
  int fd = -1;
  const uint32_t flags = in.below(4) ? 0x400000 | in.below(4) : in.take<uint32_t>();
  const uint32_t minor = in.below(4) ? 0 : in.take<uint32_t>();
  const char* const path = in.below(8) ? kDevicePath : "/dev/null";
  if (session.device().openRaw(path, static_cast<int>(flags), minor, &fd) == netbsd::kOK) session.replaceFile(fd);
}

void duplicate(Session& session) {
  int fd = -1;
  if (session.device().dup(session.file(), &fd) == netbsd::kOK) session.replaceFile(fd);
}

void copy(Session& session, Input& in) {
  uint8_t buffer[512] = {};
  const auto at = reinterpret_cast<uintptr_t>(address(session, in));
  const size_t size = in.take<uint16_t>() % sizeof buffer;
  if (in.flag()) {
    load(at, buffer, size);
  } else {
    store(at, buffer, size);
  }
}

void step(Session& session, Input& in) {
  mock::MockDevice& device = session.device();
  const int anyFile = in.below(8) ? session.file() : static_cast<int>(in.take<uint32_t>());
  int64_t result;
  char four[4] = {};
  switch (in.below(16)) {
    case 0: open(session, in); return;
    case 1: duplicate(session); return;
    case 2: device.read(anyFile, four, sizeof four, &result); return;
    case 3: device.write(anyFile, four, sizeof four, &result); return;
    case 4: device.fstat(anyFile); return;
    case 5: device.poll(anyFile, &result); return;
    case 6: device.lseek(anyFile, &result); return;
    case 7: device.fcntl(anyFile, static_cast<int>(in.below(12)), in.take<int64_t>(), &result); return;
    case 8: session.writeComm(); return;
    case 9: session.mapHva(); return;
    case 10: session.unmapHva(); return;
    case 11: map(session, in); return;
    case 12: copy(session, in); return;
    default: call(session, in); return;
  }
}

}  // namespace
}  // namespace nvmm::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  nvmm::fuzz::Input in(data, size);
  nvmm::fuzz::Session session(in);
  session.prepare();
  for (unsigned steps = 0; steps < 200 && !in.empty(); steps++) nvmm::fuzz::step(session, in);
  return 0;
}

// The mock driver by its system calls: errnos, ownership, memory objects, the comm page, locks between threads.
#include <pthread.h>
#include <sys/mman.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "abi/nvmm.h"
#include "mock/mock_device.h"

using namespace nvmm;
using namespace nvmm::abi;
using mock::MockDevice;
using mock::Options;

namespace {

int failures = 0;

template <class A, class B>
void expect(const char* file, int line, const char* what, const A& got, const B& wanted) {
  if (got == static_cast<A>(wanted)) return;
  failures++;
  std::printf("%s:%d: %s is %lld, not %lld\n", file, line, what, static_cast<long long>(got),
              static_cast<long long>(wanted));
}
#define EXPECT(got, wanted) expect(__FILE__, __LINE__, #got, (got), (wanted))

void sleepMs(int ms) { std::this_thread::sleep_for(std::chrono::milliseconds(ms)); }

// Waits, for at most five seconds.
bool eventually(const std::function<bool()>& condition) {
  for (int i = 0; i < 5000 && !condition(); i++) sleepMs(1);
  return condition();
}

constexpr uint64_t kRamSize = 0x10000, kCode = 0x1000;

// A descriptor of the device, closed in the end.
struct Descriptor {
  MockDevice& device;
  int fd = -1;

  explicit Descriptor(MockDevice& d, Access access = Access::Owner) : device(d) {
    EXPECT(device.open(kDevicePath, access, &fd), netbsd::kOK);
  }
  ~Descriptor() { close(); }
  void close() {
    if (fd != -1) device.close(fd);
    fd = -1;
  }

  template <class Argument>
  int call(uint32_t request, Argument&& argument) {
    return device.ioctl(fd, request, &argument);
  }
  int create(uint32_t* machid) {
    nvmm_ioc_machine_create argument = {};
    const int error = call(NVMM_IOC_MACHINE_CREATE, argument);
    *machid = argument.machid;
    return error;
  }
  int destroy(uint32_t machid) { return call(NVMM_IOC_MACHINE_DESTROY, nvmm_ioc_machine_destroy{machid}); }
  int createVcpu(uint32_t machid, uint32_t cpuid) {
    return call(NVMM_IOC_VCPU_CREATE, nvmm_ioc_vcpu_create{machid, cpuid});
  }
  int hvaMap(uint32_t machid, const void* hva, uint64_t size) {
    return call(NVMM_IOC_HVA_MAP, nvmm_ioc_hva_map{machid, reinterpret_cast<uint64_t>(hva), size, 0});
  }
  int hvaUnmap(uint32_t machid, const void* hva, uint64_t size) {
    return call(NVMM_IOC_HVA_UNMAP, nvmm_ioc_hva_unmap{machid, reinterpret_cast<uint64_t>(hva), size, 0});
  }
  int gpaMap(uint32_t machid, const void* hva, uint64_t gpa, uint64_t size, int prot = 7) {
    return call(NVMM_IOC_GPA_MAP, nvmm_ioc_gpa_map{machid, reinterpret_cast<uint64_t>(hva), gpa, size, prot});
  }
  int gpaUnmap(uint32_t machid, uint64_t gpa, uint64_t size) {
    return call(NVMM_IOC_GPA_UNMAP, nvmm_ioc_gpa_unmap{machid, gpa, size});
  }
  int info(nvmm_ctl_mach_info* info) {
    return call(NVMM_IOC_CTL, nvmm_ioc_ctl{NVMM_CTL_MACH_INFO, info, sizeof *info});
  }
};

// Memory of the caller's.
struct Memory {
  uint8_t* bytes;
  size_t size;

  explicit Memory(size_t s) : size(s) {
    bytes = static_cast<uint8_t*>(
        mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANON | MAP_NORESERVE, -1, 0));
  }
  ~Memory() { munmap(bytes, size); }
};

// A machine with RAM at 0 and VCPU 0 in real mode, about to execute `code`.
struct Guest {
  Descriptor descriptor;
  Memory ram{kRamSize};
  uint32_t machid = 0;
  nvmm_comm_page_v2* comm = nullptr;
  nvmm_x86_exit exit = {};

  explicit Guest(MockDevice& device, const std::vector<uint8_t>& code) : descriptor(device) {
    EXPECT(descriptor.create(&machid), netbsd::kOK);
    EXPECT(descriptor.hvaMap(machid, ram.bytes, kRamSize), netbsd::kOK);
    EXPECT(descriptor.gpaMap(machid, ram.bytes, 0, kRamSize), netbsd::kOK);
    EXPECT(descriptor.createVcpu(machid, 0), netbsd::kOK);
    comm = map(0);
    std::memcpy(ram.bytes + kCode, code.data(), code.size());
    prepare(comm);
  }
  ~Guest() { munmap(comm, kPageSize); }

  nvmm_comm_page_v2* map(uint32_t cpuid) {
    void* page = nullptr;
    EXPECT(descriptor.device.mapComm(descriptor.fd, commOffset(machid, cpuid), &page), netbsd::kOK);
    return static_cast<nvmm_comm_page_v2*>(page);
  }
  static void prepare(nvmm_comm_page_v2* page) {
    for (uint32_t i = NVMM_X64_SEG_ES; i <= NVMM_X64_SEG_GS; i++) page->state.segs[i] = {0, 0x93, 0xffff, 0};
    page->state.gprs[NVMM_X64_GPR_RIP] = kCode;
    page->state.gprs[NVMM_X64_GPR_RSP] = 0x8000;
    page->state_commit = NVMM_X64_STATE_SEGS | NVMM_X64_STATE_GPRS;
  }
  int run(nvmm_x86_exit* result, uint32_t cpuid = 0) {
    nvmm_ioc_vcpu_run argument = {machid, cpuid, *result};
    const int error = descriptor.call(NVMM_IOC_VCPU_RUN, argument);
    *result = argument.exit;
    return error;
  }
  uint64_t run() {
    EXPECT(run(&exit), netbsd::kOK);
    return exit.reason;
  }
  int getState(uint64_t pieces) {
    comm->state_wanted = pieces;
    return descriptor.call(NVMM_IOC_VCPU_GETSTATE, nvmm_ioc_vcpu_getstate{machid, 0});
  }
  void jump(uint64_t rip) {
    comm->state.gprs[NVMM_X64_GPR_RIP] = rip;
    comm->state_commit |= NVMM_X64_STATE_GPRS;
  }
};

void stop(nvmm_comm_page_v2* comm) { __atomic_store_n(&comm->stop, 1, __ATOMIC_RELAXED); }

// A thread that runs a VCPU once.
struct Runner {
  nvmm_x86_exit exit = {};
  std::atomic<int> error{-1};  // -1: not yet returned
  pthread_t id;
  std::thread thread;
  MockDevice& device;

  explicit Runner(Guest& guest, uint32_t cpuid = 0) : device(guest.descriptor.device) {
    std::atomic<bool> started{false};
    thread = std::thread([&, cpuid] {
      id = pthread_self();
      started = true;
      error = guest.run(&exit, cpuid);
    });
    eventually([&] { return started.load(); });
    sleepMs(20);
  }
  bool running() const { return error == -1; }
  void kick() {
    eventually([&] {
      device.kick(id);
      return !running();
    });
  }
  ~Runner() {
    kick();
    thread.join();
  }
};

const std::vector<uint8_t> kSpin = {0xeb, 0xfe};                   // jmp $
const std::vector<uint8_t> kHlt = {0xf4, 0xf4, 0xf4};              // hlt; hlt; hlt
const std::vector<uint8_t> kOutLoop = {0xe6, 0x10, 0xeb, 0xfc};    // out 0x10,al; jmp $-2
const std::vector<uint8_t> kCpuidLoop = {0x0f, 0xa2, 0xeb, 0xfc};  // cpuid; jmp $-2

// ---- system calls --------------------------------------------------------------------------------------------------

void testOpen() {
  const auto device = mock::makeMockDevice(Options());
  constexpr int kCloexec = 0x400000;
  int fd, other;
  EXPECT(device->openRaw("/dev/missing", kCloexec, 0, &fd), netbsd::kNOENT);
  EXPECT(device->openRaw(kDevicePath, 0, 1, &fd), netbsd::kXDEV);
  EXPECT(device->openRaw(kDevicePath, 0, 0, &fd), netbsd::kINVAL);
  EXPECT(device->openRaw(kDevicePath, kCloexec | 2, 0, &fd), netbsd::kOK);
  int64_t result;
  EXPECT(device->read(fd, nullptr, 4, &result), netbsd::kOPNOTSUPP);
  EXPECT(device->write(fd, nullptr, 4, &result), netbsd::kOPNOTSUPP);
  EXPECT(device->fstat(fd), netbsd::kOPNOTSUPP);
  EXPECT(device->lseek(fd, &result), netbsd::kSPIPE);
  EXPECT(device->poll(fd, &result), netbsd::kOK);
  EXPECT(device->fcntl(fd, 1, 0, &result), netbsd::kOK);
  EXPECT(result, 1);
  EXPECT(device->fcntl(fd, 4, 4, &result), netbsd::kINVAL);
  EXPECT(device->dup(fd, &other), netbsd::kOK);
  EXPECT(device->fcntl(other, 1, 0, &result), netbsd::kOK);
  EXPECT(result, 0);
  EXPECT(device->close(fd), netbsd::kOK);
  EXPECT(device->close(fd), netbsd::kBADF);
  EXPECT(device->fstat(fd), netbsd::kBADF);
  EXPECT(device->ioctlRaw(fd, NVMM_IOC_CAPABILITY, nullptr), netbsd::kBADF);
  EXPECT(device->openRaw(kDevicePath, kCloexec | 1, 0, &fd), netbsd::kOK);
  EXPECT(device->read(fd, nullptr, 4, &result), netbsd::kBADF);
}

void testRequests() {
  const auto device = mock::makeMockDevice(Options());
  Descriptor d(*device);
  const auto raw = [&](uint64_t request, void* argument) { return device->ioctlRaw(d.fd, request, argument); };
  void* const wild = reinterpret_cast<void*>(8);
  alignas(16) uint8_t buffer[4096] = {};
  EXPECT(raw(NVMM_IOC_CAPABILITY, buffer), netbsd::kOK);
  nvmm_capability cap;
  std::memcpy(&cap, buffer, sizeof cap);
  EXPECT(cap.version, 2);
  EXPECT(cap.state_size, 1008);
  EXPECT(cap.max_machines, 128);
  EXPECT(cap.arch.vcpu_conf_support, 1);
  EXPECT(raw(NVMM_IOC_CAPABILITY | uint64_t{1} << 32, buffer), netbsd::kINVAL);
  EXPECT(raw(NVMM_IOC_CAPABILITY, wild), netbsd::kFAULT);
  EXPECT(raw(NVMM_IOC_MACHINE_DESTROY, wild), netbsd::kFAULT);
  EXPECT(raw(0x80005400 | 8 << 16, wild), netbsd::kFAULT);  // unknown, in
  EXPECT(raw(0x40005400 | 8 << 16, wild), netbsd::kINVAL);  // unknown, out
  EXPECT(raw(0x20004e00, wild), netbsd::kINVAL);            // unknown, no argument
  EXPECT(raw(0x90014e00, wild), netbsd::kNOTTY);            // 4097 bytes
  EXPECT(raw(0x90004e00, buffer), netbsd::kINVAL);          // 4096 bytes
  EXPECT(raw(0x8004667e, buffer), netbsd::kINVAL);          // FIONBIO
  EXPECT(raw(0x20006602, nullptr), netbsd::kOK);            // FIONCLEX
  int64_t result = -1;
  EXPECT(device->fcntl(d.fd, 1, 0, &result), netbsd::kOK);
  EXPECT(result, 0);

  // An argument that runs into unmapped memory; one that ends before it.
  Memory two(2 * kPageSize);
  munmap(two.bytes + kPageSize, kPageSize);
  EXPECT(raw(NVMM_IOC_MACHINE_DESTROY, two.bytes + kPageSize - 2), netbsd::kFAULT);
  EXPECT(raw(NVMM_IOC_MACHINE_DESTROY, two.bytes + kPageSize - 4), netbsd::kNOENT);

  // The result is lost, the effect is not.
  mprotect(two.bytes, kPageSize, PROT_READ);
  EXPECT(raw(NVMM_IOC_MACHINE_CREATE, two.bytes), netbsd::kFAULT);
  nvmm_ctl_mach_info info = {};
  EXPECT(d.info(&info), netbsd::kOK);
  EXPECT(d.call(NVMM_IOC_CTL, nvmm_ioc_ctl{1, &info, 32}), netbsd::kINVAL);
  EXPECT(d.call(NVMM_IOC_CTL, nvmm_ioc_ctl{0, &info, 31}), netbsd::kINVAL);
  EXPECT(d.call(NVMM_IOC_CTL, nvmm_ioc_ctl{0, wild, 32}), netbsd::kFAULT);
  EXPECT(d.call(NVMM_IOC_CTL, nvmm_ioc_ctl{0, two.bytes, 32}), netbsd::kFAULT);

  EXPECT(d.createVcpu(0, 0), netbsd::kOK);
  const auto configure = [&](uint64_t op, void* conf) {
    return d.call(NVMM_IOC_VCPU_CONFIGURE, nvmm_ioc_vcpu_configure{0, 0, op, conf});
  };
  EXPECT(configure(199, buffer), netbsd::kINVAL);
  EXPECT(configure(NVMM_VCPU_CONF_CPUID, wild), netbsd::kFAULT);
  EXPECT(configure(NVMM_VCPU_CONF_TPR, buffer), netbsd::kINVAL);
  nvmm_vcpu_conf_cpuid conf = {};
  conf.bits = kConfCpuidExit | kConfCpuidMask;
  EXPECT(configure(NVMM_VCPU_CONF_CPUID, &conf), netbsd::kINVAL);
  conf.bits = kConfCpuidMask;
  conf.u.mask.set.ebx = conf.u.mask.del.ebx = 4;
  EXPECT(configure(NVMM_VCPU_CONF_CPUID, &conf), netbsd::kINVAL);
  conf.bits = kConfCpuidExit;
  for (conf.leaf = 0; conf.leaf < kConfCpuidMaxops; conf.leaf++) {
    EXPECT(configure(NVMM_VCPU_CONF_CPUID, &conf), netbsd::kOK);
  }
  EXPECT(configure(NVMM_VCPU_CONF_CPUID, &conf), netbsd::kNOBUFS);
  conf.leaf = 5;
  EXPECT(configure(NVMM_VCPU_CONF_CPUID, &conf), netbsd::kOK);
  conf.bits = 0;
  EXPECT(configure(NVMM_VCPU_CONF_CPUID, &conf), netbsd::kOK);
  conf.bits = kConfCpuidExit;
  conf.leaf = 99;
  EXPECT(configure(NVMM_VCPU_CONF_CPUID, &conf), netbsd::kOK);
}

void testOwnership() {
  const auto device = mock::makeMockDevice(Options());
  Descriptor a(*device), b(*device), root(*device, Access::Root);
  uint32_t ma, mb, mr;
  EXPECT(a.create(&ma), netbsd::kOK);
  EXPECT(b.create(&mb), netbsd::kOK);
  EXPECT(root.create(&mr), netbsd::kOK);
  EXPECT(ma, 0);
  EXPECT(mb, 1);
  EXPECT(mr, 2);
  EXPECT(a.createVcpu(mb, 0), netbsd::kPERM);
  EXPECT(a.createVcpu(3, 0), netbsd::kNOENT);
  EXPECT(a.createVcpu(128, 0), netbsd::kINVAL);
  EXPECT(a.createVcpu(ma, 256), netbsd::kINVAL);
  EXPECT(root.createVcpu(mb, 0), netbsd::kOK);
  EXPECT(b.createVcpu(mb, 0), netbsd::kBUSY);
  nvmm_ctl_mach_info info = {mb, 0, 0, -1, -1};
  EXPECT(root.info(&info), netbsd::kOK);
  EXPECT(info.nvcpus, 1);
  EXPECT(info.pid, getpid());
  EXPECT(info.time > 0, true);
  info.machid = mr;
  EXPECT(root.info(&info), netbsd::kOK);
  EXPECT(info.pid, 0);

  // The machines of an open file live until its last descriptor is closed.
  int duplicate;
  EXPECT(device->dup(b.fd, &duplicate), netbsd::kOK);
  b.close();
  EXPECT(root.createVcpu(mb, 1), netbsd::kOK);
  EXPECT(device->close(duplicate), netbsd::kOK);
  EXPECT(root.createVcpu(mb, 2), netbsd::kNOENT);

  // The close of any write-only file takes all machines of the root owner.
  { Descriptor otherRoot(*device, Access::Root); }
  EXPECT(root.createVcpu(mr, 0), netbsd::kNOENT);
  EXPECT(root.createVcpu(ma, 0), netbsd::kOK);
}

void testLimits() {
  Options options;
  options.maxMachines = 3;
  options.maxVcpus = 2;
  options.maxRam = 0x100000;
  const auto device = mock::makeMockDevice(options);
  Descriptor d(*device);
  nvmm_ioc_capability capability;
  EXPECT(d.call(NVMM_IOC_CAPABILITY, capability), netbsd::kOK);
  EXPECT(capability.cap.max_machines, 3);
  EXPECT(capability.cap.max_ram, 0x100000);
  uint32_t machid;
  for (int i = 0; i < 3; i++) EXPECT(d.create(&machid), netbsd::kOK);
  EXPECT(d.create(&machid), netbsd::kNOBUFS);
  EXPECT(d.destroy(1), netbsd::kOK);
  EXPECT(d.destroy(1), netbsd::kNOENT);
  EXPECT(d.create(&machid), netbsd::kOK);
  EXPECT(machid, 1);
  EXPECT(d.destroy(3), netbsd::kINVAL);
  EXPECT(d.createVcpu(0, 1), netbsd::kOK);
  EXPECT(d.createVcpu(0, 2), netbsd::kINVAL);
  Memory ram(kPageSize);
  EXPECT(d.hvaMap(0, ram.bytes, kPageSize), netbsd::kOK);
  EXPECT(d.gpaMap(0, ram.bytes, 0xff000, kPageSize), netbsd::kOK);
  EXPECT(d.gpaMap(0, ram.bytes, 0x100000, kPageSize), netbsd::kINVAL);
  EXPECT(d.gpaUnmap(0, 0xff000, kPageSize), netbsd::kINVAL);  // the last page cannot be unmapped
}

// ---- memory --------------------------------------------------------------------------------------------------------

void testHostMappings() {
  const auto device = mock::makeMockDevice(Options());
  Descriptor d(*device);
  uint32_t m;
  EXPECT(d.create(&m), netbsd::kOK);
  Memory ram(33 * kPageSize);
  uint8_t* const p = ram.bytes;
  p[0] = 1;
  EXPECT(d.hvaMap(m, p + 1, kPageSize), netbsd::kINVAL);
  EXPECT(d.hvaMap(m, p, kPageSize + 1), netbsd::kINVAL);
  EXPECT(d.hvaMap(m, nullptr, kPageSize), netbsd::kINVAL);
  EXPECT(d.hvaMap(m, p, 0), netbsd::kINVAL);
  EXPECT(d.hvaMap(m, p, ~uint64_t{0xfff}), netbsd::kINVAL);
  EXPECT(d.hvaMap(m, reinterpret_cast<void*>(0xffff800000000000), kPageSize), netbsd::kINVAL);
  EXPECT(d.hvaMap(m, p, 4 * kPageSize), netbsd::kOK);
  EXPECT(p[0], 0);
  EXPECT(d.hvaMap(m, p + kPageSize, 4 * kPageSize), netbsd::kEXIST);
  EXPECT(d.hvaMap(m, p + kPageSize, kPageSize), netbsd::kOK);  // inside
  EXPECT(d.hvaUnmap(m, p, kPageSize), netbsd::kNOENT);
  EXPECT(d.hvaUnmap(m, p + kPageSize, kPageSize), netbsd::kOK);
  nvmm_ctl_mach_info info = {m, 0, 0, 0, 0};
  EXPECT(d.info(&info), netbsd::kOK);
  EXPECT(info.nram, 4 * kPageSize);

  // 32 of them.
  for (unsigned i = 1; i < 32; i++) EXPECT(d.hvaMap(m, p + i * kPageSize, kPageSize), netbsd::kOK);
  EXPECT(d.hvaMap(m, p + 32 * kPageSize, kPageSize), netbsd::kNOBUFS);
  EXPECT(d.destroy(m), netbsd::kOK);
  p[0] = 2;  // still mapped

  // The whole guest-physical space, without its memory.
  EXPECT(d.create(&m), netbsd::kOK);
  Memory huge(NVMM_MAX_RAM);
  EXPECT(d.hvaMap(m, huge.bytes, NVMM_MAX_RAM), netbsd::kOK);
  EXPECT(d.gpaMap(m, huge.bytes, 0, NVMM_MAX_RAM), netbsd::kOK);
  huge.bytes[NVMM_MAX_RAM - 1] = 7;
  EXPECT(d.hvaUnmap(m, huge.bytes, NVMM_MAX_RAM), netbsd::kOK);
}

void testGuestMappings() {
  const auto device = mock::makeMockDevice(Options());
  // mov ax,[0x9000]; hlt; jmp kCode
  Guest guest(*device, {0xa1, 0x00, 0x90, 0xf4, 0xeb, 0xfa});
  Descriptor& d = guest.descriptor;
  const uint32_t m = guest.machid;
  uint8_t* const ram = guest.ram.bytes;
  const auto ax = [&] {
    EXPECT(guest.run(), NVMM_VCPU_EXIT_HALTED);
    EXPECT(guest.getState(NVMM_X64_STATE_GPRS), netbsd::kOK);
    return guest.comm->state.gprs[NVMM_X64_GPR_RAX];
  };
  ram[0x9000] = 1;
  ram[0xa000] = 2;
  EXPECT(ax(), 1);
  EXPECT(d.gpaMap(m, ram + 0xa000, 0x9000, kPageSize), netbsd::kOK);
  EXPECT(ax(), 2);
  EXPECT(d.gpaUnmap(m, 0x9000, kPageSize), netbsd::kOK);
  EXPECT(guest.run(), NVMM_VCPU_EXIT_MEMORY);
  EXPECT(guest.exit.u.mem.gpa, 0x9000);
  EXPECT(guest.exit.u.mem.prot, 1);
  EXPECT(d.gpaMap(m, ram + 0x8000, 0x8000, 3 * kPageSize, 8), netbsd::kINVAL);
  EXPECT(d.gpaMap(m, ram + 0x8000, 0x8000, kRamSize), netbsd::kINVAL);  // not inside the host mapping
  EXPECT(d.gpaMap(m, ram + 0x8000, 0x8000, 3 * kPageSize), netbsd::kOK);
  EXPECT(ax(), 1);

  // The guest keeps the object when the process lets go of it.
  EXPECT(d.hvaUnmap(m, ram, kRamSize), netbsd::kOK);
  EXPECT(ax(), 1);
  EXPECT(d.gpaMap(m, ram, 0, kPageSize), netbsd::kINVAL);
}

void testUnmapWhileRunning() {
  const auto device = mock::makeMockDevice(Options());
  // mov ax,[0x9000]; jmp kCode
  Guest guest(*device, {0xa1, 0x00, 0x90, 0xeb, 0xfb});
  {
    Runner runner(guest);
    EXPECT(runner.running(), true);
    EXPECT(guest.descriptor.gpaUnmap(guest.machid, 0x9000, kPageSize), netbsd::kOK);
    EXPECT(eventually([&] { return !runner.running(); }), true);
    EXPECT(runner.exit.reason, NVMM_VCPU_EXIT_MEMORY);
  }
  EXPECT(guest.descriptor.gpaMap(guest.machid, guest.ram.bytes + 0x9000, 0x9000, kPageSize), netbsd::kOK);
  Runner runner(guest);
  for (int i = 0; i < 200; i++) {
    EXPECT(guest.descriptor.gpaMap(guest.machid, guest.ram.bytes + 0xa000, 0x9000, kPageSize), netbsd::kOK);
  }
  EXPECT(runner.running(), true);
}

// ---- comm page -----------------------------------------------------------------------------------------------------

void testCommMapping() {
  const auto device = mock::makeMockDevice(Options());
  Guest guest(*device, kHlt);
  Descriptor other(*device);
  const int fd = guest.descriptor.fd;
  void* page = nullptr;
  const auto map = [&](uint64_t offset, size_t length, int prot, int flags) {
    return device->mmapRaw(fd, offset, length, prot, flags, &page);
  };
  EXPECT(map(0, 0, 3, 1), netbsd::kINVAL);
  EXPECT(map(0, 4097, 3, 1), netbsd::kINVAL);
  EXPECT(map(0, 8192, 7, 1), netbsd::kACCES);
  EXPECT(map(0, 4096, 3, 3), netbsd::kINVAL);
  EXPECT(map(commOffset(1, 0), 4096, 3, 1), netbsd::kNOENT);
  EXPECT(map(commOffset(128, 0), 4096, 3, 1), netbsd::kINVAL);
  EXPECT(device->mapComm(other.fd, 0, &page), netbsd::kPERM);
  EXPECT(map(uint64_t{1} << 32 | 8, 100, 3, 1), netbsd::kOK);  // bits above 27 are ignored, the page offset is added
  EXPECT(reinterpret_cast<uintptr_t>(page) % kPageSize, 8);
  munmap(static_cast<uint8_t*>(page) - 8, kPageSize);

  EXPECT(map(0, 4096, 1, 1), netbsd::kOK);
  EXPECT(static_cast<nvmm_comm_page_v2*>(page)->state_cached, NVMM_X64_STATE_ALL);
  EXPECT(device->mprotect(page, kPageSize, 3), netbsd::kACCES);
  munmap(page, kPageSize);
  EXPECT(map(0, 4096, 3, 2), netbsd::kOK);
  static_cast<nvmm_comm_page_v2*>(page)->state_cached = 5;  // a private copy
  EXPECT(guest.comm->state_cached, NVMM_X64_STATE_ALL);
  munmap(page, kPageSize);

  // A page without a VCPU is zeros; creation clears it; destruction leaves it.
  nvmm_comm_page_v2* later = guest.map(9);
  EXPECT(later->state_cached, 0);
  later->event_commit = true;
  EXPECT(guest.descriptor.createVcpu(guest.machid, 9), netbsd::kOK);
  EXPECT(later->event_commit, false);
  EXPECT(later->state_cached, NVMM_X64_STATE_ALL);
  EXPECT(later->state.gprs[NVMM_X64_GPR_RIP], 0xfff0);
  EXPECT(guest.descriptor.call(NVMM_IOC_VCPU_DESTROY, nvmm_ioc_vcpu_destroy{guest.machid, 9}), netbsd::kOK);
  EXPECT(later->state.gprs[NVMM_X64_GPR_RIP], 0xfff0);
  munmap(later, kPageSize);
}

void testCommProtocol() {
  const auto device = mock::makeMockDevice(Options());
  // hlt; out 0x10,al; jmp $-2
  Guest guest(*device, {0xf4, 0xe6, 0x10, 0xeb, 0xfc});
  auto* const comm = guest.comm;
  comm->state_wanted = 0x80;
  EXPECT(guest.run(), NVMM_VCPU_EXIT_HALTED);
  EXPECT(comm->state_cached, 0);
  EXPECT(comm->state_commit, 0);
  EXPECT(comm->state_wanted, 0);
  EXPECT(guest.exit.exitstate.rflags, 2);
  EXPECT(guest.getState(NVMM_X64_STATE_GPRS | 0x100), netbsd::kOK);
  EXPECT(comm->state_cached, NVMM_X64_STATE_GPRS | 0x100);
  EXPECT(comm->state_wanted, 0);
  EXPECT(comm->state.gprs[NVMM_X64_GPR_RIP], kCode + 1);

  comm->state.gprs[NVMM_X64_GPR_RAX] = 0x55;
  comm->state_commit = NVMM_X64_STATE_GPRS;
  std::memset(&guest.exit, 0xee, sizeof guest.exit);
  EXPECT(guest.run(), NVMM_VCPU_EXIT_IO);
  EXPECT(comm->state_cached, 0x17);
  EXPECT(guest.exit.u.io.port, 0x10);
  EXPECT(guest.exit.u.io.npc, kCode + 3);
  EXPECT(comm->state.gprs[NVMM_X64_GPR_RIP], kCode + 1);
  EXPECT(comm->state.gprs[NVMM_X64_GPR_RAX], 0x55);
  EXPECT(guest.exit.exitstate.bits, 0xeeeeeeeeeeeeeee0);  // reserved bits are the caller's

  // An unacceptable event: committed state is applied, the guest is not entered.
  comm->event = {NVMM_VCPU_EVENT_EXCP, 3, {{0}}};
  comm->event_commit = true;
  comm->state_commit = NVMM_X64_STATE_DRS;
  nvmm_x86_exit untouched = guest.exit;
  EXPECT(guest.run(&guest.exit), netbsd::kINVAL);
  EXPECT(std::memcmp(&untouched, &guest.exit, sizeof untouched), 0);
  EXPECT(comm->event_commit, false);
  EXPECT(comm->state_commit, 0);
  EXPECT(comm->state_cached, 0);

  // stop before the run: nothing is committed, exitstate is not filled.
  comm->state_commit = NVMM_X64_STATE_DRS;
  comm->state_cached = NVMM_X64_STATE_DRS;
  stop(comm);
  EXPECT(guest.run(), NVMM_VCPU_EXIT_STOPPED);
  EXPECT(comm->stop, 0);
  EXPECT(comm->state_commit, NVMM_X64_STATE_DRS);
  EXPECT(comm->state_cached, NVMM_X64_STATE_DRS);
  EXPECT(guest.run(), NVMM_VCPU_EXIT_IO);

  // The MXCSR trap: with a mask of 0 nothing is left of it.
  comm->state.fpu.fx_mxcsr = 0x1f80;
  comm->state.fpu.fx_mxcsr_mask = 0;
  comm->state_wanted = NVMM_X64_STATE_FPU;
  EXPECT(guest.descriptor.call(NVMM_IOC_VCPU_SETSTATE, nvmm_ioc_vcpu_setstate{guest.machid, 0}), netbsd::kOK);
  EXPECT(guest.getState(NVMM_X64_STATE_FPU), netbsd::kOK);
  EXPECT(comm->state.fpu.fx_mxcsr, 0);
}

void testVersion1() {
  Options options;
  options.kernelVersion = 1;
  const auto device = mock::makeMockDevice(options);
  Guest guest(*device, kHlt);
  nvmm_ioc_capability capability;
  EXPECT(guest.descriptor.call(NVMM_IOC_CAPABILITY, capability), netbsd::kOK);
  EXPECT(capability.cap.version, 1);
  stop(guest.comm);
  EXPECT(guest.run(), NVMM_VCPU_EXIT_HALTED);
  EXPECT(guest.comm->stop, 1);  // padding
}

// ---- threads -------------------------------------------------------------------------------------------------------

void testKickAndStop() {
  const auto device = mock::makeMockDevice(Options());
  for (const auto* code : {&kSpin, &kCpuidLoop}) {
    Guest guest(*device, *code);
    {
      Runner runner(guest);
      EXPECT(runner.running(), true);
      stop(guest.comm);
      EXPECT(eventually([&] { return !runner.running(); }), true);
      EXPECT(runner.exit.reason, NVMM_VCPU_EXIT_STOPPED);
      EXPECT(guest.comm->stop, 0);
    }
    Runner runner(guest);
    EXPECT(runner.running(), true);
    runner.kick();
    EXPECT(runner.error.load(), netbsd::kOK);
    EXPECT(runner.exit.reason, NVMM_VCPU_EXIT_NONE);
    EXPECT(runner.exit.exitstate.rflags & 2, 2);
    EXPECT(guest.comm->state_cached, 0);
  }
}

void testTimeSlice() {
  Options options;
  options.timeSlice = 1000;
  const auto device = mock::makeMockDevice(options);
  Guest guest(*device, kSpin);
  EXPECT(guest.run(), NVMM_VCPU_EXIT_NONE);
  EXPECT(guest.exit.exitstate.rflags, 2);
  const uint64_t instructions = device->counters().instructions;
  EXPECT(instructions >= 1000 && instructions < 2000, true);
}

// What a running VCPU holds up, and what it does not.
void testLocks() {
  const auto device = mock::makeMockDevice(Options());
  Guest guest(*device, kSpin);
  EXPECT(guest.descriptor.createVcpu(guest.machid, 1), netbsd::kOK);
  nvmm_comm_page_v2* const comm1 = guest.map(1);
  Guest::prepare(comm1);
  std::memcpy(guest.ram.bytes + 0x2000, kHlt.data(), kHlt.size());
  comm1->state.gprs[NVMM_X64_GPR_RIP] = 0x2000;

  Runner runner(guest);
  // Another VCPU, the guest map, other pages: not held up.
  nvmm_x86_exit exit = {};
  EXPECT(guest.run(&exit, 1), netbsd::kOK);
  EXPECT(exit.reason, NVMM_VCPU_EXIT_HALTED);
  EXPECT(guest.descriptor.gpaUnmap(guest.machid, 0x9000, kPageSize), netbsd::kOK);
  EXPECT(runner.running(), true);

  const auto heldUp = [&](const std::function<void()>& call, const std::function<void(std::atomic<bool>&)>& meanwhile) {
    std::atomic<bool> done{false};
    std::thread thread([&] {
      call();
      done = true;
    });
    sleepMs(50);
    EXPECT(done.load(), false);
    EXPECT(runner.running(), true);
    meanwhile(done);
    runner.kick();
    thread.join();
    EXPECT(done.load(), true);
  };
  const auto nothing = [](std::atomic<bool>&) {};
  const auto again = [&](Runner& r) {
    r.thread.join();
    r.error = -1;
    r.thread = std::thread([&] { r.error = guest.run(&r.exit); });
    r.id = r.thread.native_handle();
    sleepMs(20);
  };

  // The VCPU itself.
  heldUp([&] { guest.getState(NVMM_X64_STATE_GPRS); }, nothing);
  again(runner);
  // The machine; and whoever comes behind a writer that waits.
  Memory more(kPageSize);
  heldUp([&] { EXPECT(guest.descriptor.hvaMap(guest.machid, more.bytes, kPageSize), netbsd::kOK); },
         [&](std::atomic<bool>&) {
           std::atomic<bool> ran{false};
           std::thread reader([&] {
             nvmm_x86_exit ignored = {};
             guest.run(&ignored, 1);
             ran = true;
           });
           sleepMs(50);
           EXPECT(ran.load(), false);
           runner.kick();
           reader.join();
         });
  again(runner);
  // Other owners: creation, information, a last close.
  Descriptor other(*device), closing(*device), root(*device, Access::Root);
  heldUp(
      [&] {
        uint32_t machid;
        EXPECT(other.create(&machid), netbsd::kOK);
        EXPECT(machid, 1);
      },
      nothing);
  again(runner);
  heldUp(
      [&] {
        nvmm_ctl_mach_info info = {guest.machid, 0, 0, 0, 0};
        EXPECT(root.info(&info), netbsd::kOK);
      },
      nothing);
  again(runner);
  heldUp([&] { closing.close(); }, nothing);
  again(runner);
  // Destruction of the machine.
  heldUp([&] { EXPECT(guest.descriptor.destroy(guest.machid), netbsd::kOK); }, nothing);
  EXPECT(guest.run(&exit), netbsd::kNOENT);
  guest.comm->state_cached = 1;  // the page is still there
  munmap(comm1, kPageSize);
}

// Many threads at everything at once: for the sanitizers.
void testRaces() {
  const auto device = mock::makeMockDevice(Options());
  std::atomic<bool> done{false};
  std::vector<std::thread> threads;
  for (int t = 0; t < 2; t++) {
    threads.emplace_back([&] {
      while (!done) {
        Guest guest(*device, kOutLoop);
        for (int i = 0; i < 20; i++) guest.run();
        Runner spinner(guest);
      }
    });
  }
  threads.emplace_back([&] {
    while (!done) {
      Descriptor root(*device, Access::Root);
      for (uint32_t machid = 0; machid < 4; machid++) {
        nvmm_ctl_mach_info info = {machid, 0, 0, 0, 0};
        root.info(&info);
        root.createVcpu(machid, 7);
        root.call(NVMM_IOC_VCPU_DESTROY, nvmm_ioc_vcpu_destroy{machid, 7});
      }
      device->counters();
    }
  });
  sleepMs(500);
  done = true;
  for (auto& thread : threads) thread.join();
}

void testCounters() {
  const auto device = mock::makeMockDevice(Options());
  {
    Guest guest(*device, kOutLoop);
    EXPECT(guest.run(), NVMM_VCPU_EXIT_IO);
    guest.jump(guest.exit.u.io.npc);
    EXPECT(guest.run(), NVMM_VCPU_EXIT_IO);
    EXPECT(device->counters().exits[4], 2);
  }
  const mock::Counters counters = device->counters();  // those of what is gone stay
  EXPECT(counters.exits[4], 2);
  EXPECT(counters.ioctls[10], 2);
  EXPECT(counters.ioctls[1], 1);
  EXPECT(counters.instructions >= 1 && counters.instructions < 5, true);
}

// How long an exit takes, for the curious.
void reportSpeed() {
  const auto device = mock::makeMockDevice(Options());
  Guest guest(*device, kOutLoop);
  constexpr int kRuns = 1000000;
  nvmm_ioc_vcpu_run argument = {guest.machid, 0, {}};
  const auto start = std::chrono::steady_clock::now();
  for (int i = 0; i < kRuns; i++) {
    device->ioctl(guest.descriptor.fd, NVMM_IOC_VCPU_RUN, &argument);
    guest.jump(argument.exit.u.io.npc);
  }
  const std::chrono::duration<double, std::nano> time = std::chrono::steady_clock::now() - start;
  std::printf("%.0f ns per IO exit\n", time.count() / kRuns);
}

}  // namespace

int main() {
  testOpen();
  testRequests();
  testOwnership();
  testLimits();
  testHostMappings();
  testGuestMappings();
  testUnmapWhileRunning();
  testCommMapping();
  testCommProtocol();
  testVersion1();
  testKickAndStop();
  testTimeSlice();
  testLocks();
  testRaces();
  testCounters();
  reportSpeed();
  std::printf("driver_test: %d failures\n", failures);
  return failures != 0;
}

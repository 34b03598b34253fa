#include "faulty_device.h"

#include <sys/mman.h>

#include <atomic>
#include <cstdlib>
#include <string>
#include <utility>

#include "../../device/forwarding_device.h"

namespace nvmm::mock {

using namespace abi;

namespace {

// A request that has been carried out: what a fault may spoil.
struct Request {
  RawDevice& device;
  const int fd;
  const uint64_t number;
  void* const argument;  // good to read and write if error is 0
  int error;

  bool is(uint32_t request) const { return number == request; }
  bool succeeded(uint32_t request) const { return is(request) && error == netbsd::kOK; }

  template <class Argument>
  Argument& as() const {
    return *static_cast<Argument*>(argument);
  }

  // The exit of a run that succeeded, if that is what it is and if it has this reason.
  nvmm_x86_exit* exit() const { return succeeded(NVMM_IOC_VCPU_RUN) ? &as<nvmm_ioc_vcpu_run>().exit : nullptr; }
  nvmm_x86_exit* exit(uint64_t reason) const {
    nvmm_x86_exit* run = exit();
    return run && run->reason == reason ? run : nullptr;
  }

  // Calls `edit` with the comm page of a request that names a VCPU.
  template <class Edit>
  void comm(Edit edit) const {
    const auto& vcpu = as<nvmm_ioc_vcpu_getstate>();
    void* page;
    if (device.mapComm(fd, commOffset(vcpu.machid, vcpu.cpuid), &page) != netbsd::kOK) return;
    edit(*static_cast<nvmm_comm_page_v2*>(page));
    munmap(page, kPageSize);
  }
  // The same after each request that may leave registers there.
  template <class Edit>
  void registers(Edit edit) const {
    if (succeeded(NVMM_IOC_VCPU_GETSTATE) || succeeded(NVMM_IOC_VCPU_RUN)) comm(edit);
  }
};

struct RequestFault {
  const char* name;
  void (*spoil)(Request& request);
};

void replaceError(Request& request, int from, int to) {
  if (request.error == from) request.error = to;
}

constexpr RequestFault kRequestFaults[] = {
    // ---- errnos
    {"foreign-is-absent", [](Request& request) { replaceError(request, netbsd::kPERM, netbsd::kNOENT); }},
    {"full-is-enomem", [](Request& request) { replaceError(request, netbsd::kNOBUFS, netbsd::kNOMEM); }},
    {"busy-is-eexist", [](Request& request) { replaceError(request, netbsd::kBUSY, netbsd::kEXIST); }},
    {"unknown-is-enotty",
     [](Request& request) {
       if ((request.number & 0xff) > (NVMM_IOC_HVA_UNMAP & 0xff)) replaceError(request, netbsd::kINVAL, netbsd::kNOTTY);
     }},
    {"machine-parameters",
     [](Request& request) {
       if (request.is(NVMM_IOC_MACHINE_CONFIGURE)) request.error = netbsd::kOK;
     }},
    {"tpr-accepted",
     [](Request& request) {
       if (request.is(NVMM_IOC_VCPU_CONFIGURE)) replaceError(request, netbsd::kINVAL, netbsd::kOK);
     }},
    {"tpr-cr8-lost",
     [](Request& request) {
       if (auto* exit = request.exit()) exit->exitstate.cr8 = 0;
     }},
    {"unmap-of-nothing",
     [](Request& request) {
       if (request.is(NVMM_IOC_HVA_UNMAP)) replaceError(request, netbsd::kNOENT, netbsd::kOK);
     }},
    // ---- what requests return
    {"no-pid",
     [](Request& request) {
       if (!request.succeeded(NVMM_IOC_CTL)) return;
       static_cast<nvmm_ctl_mach_info*>(request.as<nvmm_ioc_ctl>().data)->pid = 0;
     }},
    {"reset-family",
     [](Request& request) {
       if (!request.succeeded(NVMM_IOC_VCPU_CREATE)) return;
       request.comm([](nvmm_comm_page_v2& comm) { comm.state.gprs[NVMM_X64_GPR_RDX] = 0xf00; });
     }},
    // ---- exits
    {"stopped-is-none",
     [](Request& request) {
       if (auto* exit = request.exit(NVMM_VCPU_EXIT_STOPPED)) exit->reason = NVMM_VCPU_EXIT_NONE;
     }},
    {"stop-in-version-1",
     [](Request& request) {
       auto* exit = request.exit();
       if (!exit) return;
       request.comm([&](nvmm_comm_page_v2& comm) {
         if (comm.stop != 0) exit->reason = NVMM_VCPU_EXIT_STOPPED;
       });
     }},
    {"invalid-is-shutdown",
     [](Request& request) {
       if (auto* exit = request.exit(NVMM_VCPU_EXIT_INVALID)) exit->reason = NVMM_VCPU_EXIT_SHUTDOWN;
     }},
    {"mwait-is-monitor",
     [](Request& request) {
       if (auto* exit = request.exit(NVMM_VCPU_EXIT_MWAIT)) exit->reason = NVMM_VCPU_EXIT_MONITOR;
     }},
    {"memory-of-page",
     [](Request& request) {
       if (auto* exit = request.exit(NVMM_VCPU_EXIT_MEMORY)) exit->u.mem.gpa &= ~(kPageSize - 1);
     }},
    {"io-of-four-bytes",
     [](Request& request) {
       if (auto* exit = request.exit(NVMM_VCPU_EXIT_IO)) exit->u.io.operand_size = 4;
     }},
    {"cpuid-npc",
     [](Request& request) {
       if (auto* exit = request.exit(NVMM_VCPU_EXIT_CPUID)) exit->u.insn.npc -= 2;
     }},
    {"wrmsr-low-half",
     [](Request& request) {
       if (auto* exit = request.exit(NVMM_VCPU_EXIT_WRMSR)) exit->u.wrmsr.val &= 0xffffffff;
     }},
    // ---- the exit state
    {"state-without-entry",
     [](Request& request) {
       auto* exit = request.exit(NVMM_VCPU_EXIT_NONE);
       if (!exit) exit = request.exit(NVMM_VCPU_EXIT_STOPPED);
       if (exit) exit->exitstate = {2, 0, 0};
     }},
    {"no-state-at-none",
     [](Request& request) {
       if (auto* exit = request.exit(NVMM_VCPU_EXIT_NONE)) exit->exitstate = {};
     }},
    {"shadow-after-halt",
     [](Request& request) {
       if (auto* exit = request.exit(NVMM_VCPU_EXIT_HALTED)) exit->exitstate.bits |= kIntrIntShadow;
     }},
    {"window-stays-armed",
     [](Request& request) {
       if (auto* exit = request.exit(NVMM_VCPU_EXIT_INT_READY)) exit->exitstate.bits |= kIntrIntWindowExiting;
     }},
    {"pending-event-hidden",
     [](Request& request) {
       if (auto* exit = request.exit()) exit->exitstate.bits &= ~kIntrEvtPending;
     }},
    // ---- the comm page
    {"all-cached",
     [](Request& request) {
       if (!request.exit()) return;
       request.comm([](nvmm_comm_page_v2& comm) { comm.state_cached = NVMM_X64_STATE_ALL; });
     }},
    {"code-of-16-bits",
     [](Request& request) {
       request.registers([](nvmm_comm_page_v2& comm) {
         uint16_t& attrib = comm.state.segs[NVMM_X64_SEG_CS].attrib;
         attrib = static_cast<uint16_t>(attrib & ~(kAttribL | kAttribDef));
       });
     }},
    {"flags-lost",
     [](Request& request) {
       request.registers([](nvmm_comm_page_v2& comm) { comm.state.gprs[NVMM_X64_GPR_RFLAGS] = 2; });
     }},
    {"cr2-lost",
     [](Request& request) { request.registers([](nvmm_comm_page_v2& comm) { comm.state.crs[NVMM_X64_CR_CR2] = 0; }); }},
    {"cr0-ne-hidden",
     [](Request& request) {
       request.registers([](nvmm_comm_page_v2& comm) { comm.state.crs[NVMM_X64_CR_CR0] &= ~uint64_t{0x20}; });
     }},
    {"cr4-vmxe-shown",
     [](Request& request) {
       request.registers([](nvmm_comm_page_v2& comm) { comm.state.crs[NVMM_X64_CR_CR4] |= 0x2000; });
     }},
};

class FaultyDevice final : public ForwardingDevice<MockDevice> {
 public:
  FaultyDevice(std::shared_ptr<MockDevice> device, std::string fault)
      : ForwardingDevice(std::move(device)), fault_(std::move(fault)) {
    for (const RequestFault& fault : kRequestFaults) {
      if (fault_ == fault.name) spoil_ = fault.spoil;
    }
  }

  int ioctl(int fd, uint32_t request, void* argument) override {
    return carryOut(fd, request, argument, [&] { return device_->ioctl(fd, request, argument); });
  }
  int ioctlRaw(int fd, uint64_t request, void* argument) override {
    return carryOut(fd, request, argument, [&] { return device_->ioctlRaw(fd, request, argument); });
  }
  int openRaw(const char* path, int flags, uint32_t minor, int* fd) override {
    constexpr int kCloexec = 0x400000;  // NetBSD's
    return device_->openRaw(path, flags | (fault_ == "no-cloexec-needed" ? kCloexec : 0), minor, fd);
  }
  int mmapRaw(int fd, uint64_t offset, size_t length, int prot, int flags, void** address) override {
    constexpr int kExec = 4;
    return device_->mmapRaw(fd, offset, length, fault_ == "executable-page" ? prot & ~kExec : prot, flags, address);
  }
  void kick(pthread_t thread) override {
    if (fault_ != "deaf") device_->kick(thread);
  }
  void plan(unsigned operation, uint64_t nth, const Fault& fault) override {
    if (fault_ != "forgets-orders") device_->plan(operation, nth, fault);
  }
  Counters counters() const override { return device_->counters(); }
  int reset() override { return device_->reset(); }

 private:
  template <class Inner>
  int carryOut(int fd, uint64_t number, void* argument, Inner inner) {
    const bool run = number == NVMM_IOC_VCPU_RUN;
    if (fault_ == "nobody-waits" && !run && running_ != 0) return netbsd::kBUSY;
    running_ += run;
    Request request = {*device_, fd, number, argument, inner()};
    running_ -= run;
    if (spoil_) spoil_(request);
    return request.error;
  }

  const std::string fault_;
  void (*spoil_)(Request&) = nullptr;
  std::atomic<unsigned> running_{0};
};

}  // namespace

std::shared_ptr<MockDevice> withFault(std::shared_ptr<MockDevice> device) {
  const char* fault = std::getenv("NVMM_MOCK_FAULT");
  return fault ? std::make_shared<FaultyDevice>(std::move(device), fault) : device;
}

}  // namespace nvmm::mock

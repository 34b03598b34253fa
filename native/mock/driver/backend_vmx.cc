// The Intel half of the driver.
#include "../../abi/netbsd_errno.h"
#include "backend.h"

namespace nvmm::mock {

using namespace abi;
using cpu::ExitKind;
using cpu::State;

namespace {

constexpr uint32_t kMsrPlatformId = 0x17, kMsrArchCapabilities = 0x10a, kMsrMiscEnable = 0x1a0, kMsrPat = 0x277,
                   kMsrEfer = 0xc0000080;
constexpr uint64_t kMiscEnable = 1 << 11 | 1 << 12 | 1;  // no branch trace store, no PEBS; fast strings

constexpr uint64_t kCr0Intercepted = cpu::kET | cpu::kNW | cpu::kCD;  // what the guest sees of them is a shadow
constexpr uint64_t kCr0Forced = cpu::kET | cpu::kNE;                  // NE is demanded by VMX
constexpr uint64_t kCr0Bits = 0xe005003f;                             // those that there are; others do not stick
constexpr uint64_t kCr4Refused = ~uint64_t{0x370fff};

// Exit reasons of the VMCS.
constexpr uint64_t kExitTaskSwitch = 9, kExitInvd = 13, kExitInvalidState = 33, kExitMsrLoading = 34,
                   kExitEptMisconfiguration = 49, kEntryInstructionFailed = ~uint64_t{0};

bool nativeMsr(uint32_t msr, bool write) { return msr == kMsrEfer || isNativeMsr(msr, write); }

// Memory types 0, 1, 4 to 7 in each byte.
bool validPat(uint64_t pat) {
  for (unsigned i = 0; i < 8; i++, pat >>= 8) {
    const uint64_t type = pat & 0xff;
    if (type > 7 || type == 2 || type == 3) return false;
  }
  return true;
}

class VmxBackend final : public Backend {
 public:
  explicit VmxBackend(const Setup& setup) : Backend(setup, kRules) {
    cpu::Controls& controls = cpu_.controls();
    controls.interceptTaskSwitch = true;
    controls.interceptCr8 = true;
    controls.interceptCr0 = kCr0Intercepted;
    controls.interceptCr4 = kCr4Refused;
  }

  int configureTpr(const nvmm_vcpu_conf_tpr& conf) override {
    tprExit_ = conf.bits & kConfTprExitChanged;
    return netbsd::kOK;
  }

 private:
  static constexpr Rules kRules = {kCr0Forced, ~uint64_t{0}, 0xffffffff, 0, false, false, nativeMsr};

  bool& nmiWindow() override { return cpu_.controls().nmiWindow; }

  MsrAccess readMsr(uint32_t msr, uint64_t* value) override {
    switch (msr) {
      case kMsrPlatformId: *value = 0; return MsrAccess::Done;
      case kMsrMiscEnable: *value = kMiscEnable; return MsrAccess::Done;
      case kMsrPat: *value = cpu_.state().pat; return MsrAccess::Done;
      case kMsrArchCapabilities: return MsrAccess::Fault;  // the modelled processor lacks it
      default: return MsrAccess::Exit;
    }
  }

  MsrAccess writeMsr(uint32_t msr, uint64_t value) override {
    switch (msr) {
      case kMsrPlatformId:
      case kMsrMiscEnable: return MsrAccess::Done;
      case kMsrPat:
        if (!validPat(value)) return MsrAccess::Fault;
        cpu_.state().pat = value;
        return MsrAccess::Done;
      default: return MsrAccess::Exit;
    }
  }

  // An entry that is writable but not readable makes no difference until the driver fills it in, for the first write.
  void memoryExit(const cpu::Exit& hw, nvmm_x86_exit& exit) override {
    if (hw.memory.access != cpu::Fault::Read && memory_.misconfigured(hw.memory.gpa)) {
      return invalid(exit, kExitEptMisconfiguration);
    }
    Backend::memoryExit(hw, exit);
  }

  // The event stays in the VMCS either way. Only an entry that failed as an instruction is no exit, so that the driver
  // goes on calling it pending.
  void refuseEntry(const cpu::Exit& hw, nvmm_x86_exit& exit) override {
    switch (hw.refusal) {
      case cpu::Refusal::Control: return invalid(exit, kEntryInstructionFailed);
      case cpu::Refusal::State: invalid(exit, kExitInvalidState); break;
      case cpu::Refusal::Msrs: invalid(exit, kExitMsrLoading); break;
    }
    evtPending_ = false;
  }

  void handle(const cpu::Exit& hw, nvmm_x86_exit& exit) override {
    State& state = cpu_.state();
    switch (hw.kind) {
      case ExitKind::Xsetbv: setXcr0(hw, true); break;
      case ExitKind::Invd: invalid(exit, kExitInvd); break;
      case ExitKind::TaskSwitch: invalid(exit, kExitTaskSwitch); break;
      case ExitKind::Cr0Write: writeCr0(hw); break;
      case ExitKind::Cr4Write: fault(kGP); break;
      case ExitKind::Cr8Read:
        state.gpr[hw.control.cr8Register] = state.cr8;
        advance(hw);
        break;
      case ExitKind::Cr8Write:
        state.cr8 = hw.control.value;
        advance(hw);
        if (tprExit_) exit.reason = NVMM_VCPU_EXIT_TPR_CHANGED;
        break;
      default: invalid(exit, kExitInvalidState); break;
    }
  }

  void writeCr0(const cpu::Exit& hw) {
    State& state = cpu_.state();
    if (hw.control.value >> 32) return fault(kGP);
    state.cr0 = (hw.control.value & kCr0Bits) | kCr0Forced;
    if (state.cr0 & cpu::kPG) state.efer = (state.efer & ~cpu::kLMA) | (state.efer & cpu::kLME ? cpu::kLMA : 0);
    advance(hw);
  }

  bool tprExit_ = false;
};

}  // namespace

std::unique_ptr<Backend> createVmxBackend(const Backend::Setup& setup) { return std::make_unique<VmxBackend>(setup); }

}  // namespace nvmm::mock

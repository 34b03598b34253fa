// The AMD half of the driver.
#include "../../abi/netbsd_errno.h"
#include "backend.h"

namespace nvmm::mock {

using namespace abi;
using cpu::ExitKind;

namespace {

constexpr uint32_t kMsrPat = 0x277, kMsrEfer = 0xc0000080, kMsrNbCfg = 0xc001001f, kMsrIntPending = 0xc0010055,
                   kMsrIcCfg = 0xc0011021, kMsrDeCfg = 0xc0011029;
constexpr uint64_t kEferValid = cpu::kSCE | cpu::kLME | cpu::kLMA | cpu::kNXE | cpu::kSVME | cpu::kFFXSR | cpu::kTCE;
constexpr uint64_t kNbCfg = uint64_t{1} << 54;  // initial APIC id in the low part

constexpr uint64_t kExitInvd = 0x76, kExitInvalid = ~uint64_t{0};  // exit codes of the VMCB

bool nativeMsr(uint32_t msr, bool write) { return msr == kMsrPat || isNativeMsr(msr, write); }

class SvmBackend final : public Backend {
 public:
  explicit SvmBackend(const Setup& setup) : Backend(setup, kRules) {}

  int configureTpr(const nvmm_vcpu_conf_tpr&) override { return netbsd::kINVAL; }

 private:
  // CR8 is four bits of the VMCB.
  static constexpr Rules kRules = {0, 0xf, ~uint64_t{0}, cpu::kSVME, true, true, nativeMsr};

  // SVM has no NMI window: the driver waits for the IRET of the handler.
  bool& nmiWindow() override { return cpu_.controls().interceptIret; }

  MsrAccess readMsr(uint32_t msr, uint64_t* value) override {
    switch (msr) {
      case kMsrEfer: *value = cpu_.state().efer; return MsrAccess::Done;
      case kMsrNbCfg: *value = kNbCfg; return MsrAccess::Done;
      case kMsrIntPending:
      case kMsrIcCfg:
      case kMsrDeCfg: *value = 0; return MsrAccess::Done;
      default: return MsrAccess::Exit;
    }
  }

  MsrAccess writeMsr(uint32_t msr, uint64_t value) override {
    switch (msr) {
      case kMsrEfer:
        if (value & ~kEferValid) return MsrAccess::Fault;
        cpu_.state().efer = value & ~cpu::kSVME;
        return MsrAccess::Done;
      case kMsrIntPending:
      case kMsrIcCfg:
      case kMsrDeCfg: return MsrAccess::Done;
      default: return MsrAccess::Exit;
    }
  }

  // The event stays in the VMCB, and will be refused again.
  void refuseEntry(const cpu::Exit&, nvmm_x86_exit& exit) override {
    evtPending_ = cpu_.controls().inject.kind != cpu::EventKind::None;
    invalid(exit, kExitInvalid);
  }

  void handle(const cpu::Exit& hw, nvmm_x86_exit& exit) override {
    switch (hw.kind) {
      case ExitKind::Xsetbv: setXcr0(hw, cpu_.state().cpl == 0); break;
      case ExitKind::Invd: invalid(exit, kExitInvd); break;
      default: invalid(exit, kExitInvalid); break;
    }
  }
};

}  // namespace

std::unique_ptr<Backend> createSvmBackend(const Backend::Setup& setup) { return std::make_unique<SvmBackend>(setup); }

}  // namespace nvmm::mock

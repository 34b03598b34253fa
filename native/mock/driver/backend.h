// The half of a VCPU that knows the processor: what the driver's SVM and VMX backends decide. Registers between comm
// page and processor, events, and what becomes of each exit of the processor.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>

#include "../cpu/cpu.h"
#include "comm.h"
#include "guest_memory.h"

namespace nvmm::mock {

constexpr uint8_t kUD = 6, kGP = 13;  // the exceptions that the driver itself raises

// The MSRs that both backends leave to the processor.
bool isNativeMsr(uint32_t msr, bool write);

class Backend {
 public:
  struct Setup {
    const cpu::Model& model;
    GuestMemory& memory;
    CommPage& comm;
    uint32_t vcpu;                           // its id
    const std::atomic<uint32_t>& vcpuCount;  // of the machine
    bool realTime;                           // the TSC's: see mock_options.h
  };

  static std::unique_ptr<Backend> create(const Setup& setup);
  virtual ~Backend() = default;
  Backend(const Backend&) = delete;
  Backend& operator=(const Backend&) = delete;

  // Between the comm page's registers and the processor's: the pieces (NVMM_X64_STATE_*) named.
  void setState(uint64_t pieces);
  void getState(uint64_t pieces);

  // Makes the comm page's event the pending one.
  int inject();

  int configureCpuid(const abi::nvmm_vcpu_conf_cpuid& conf);
  virtual int configureTpr(const abi::nvmm_vcpu_conf_tpr& conf) = 0;

  // Enters the guest for at most about `budget` instructions, and decodes the exit. Reason NONE: it was handled here.
  void enter(uint64_t budget, abi::nvmm_x86_exit& exit);
  void exitState(abi::nvmm_x86_exit& exit);
  // As if the guest had been left with `wanted`: reason, payload, and what such an exit provides in the comm page.
  void leaveWith(const abi::nvmm_x86_exit& wanted, abi::nvmm_x86_exit& exit);

  void flushMemory() { cpu_.flushMemory(); }
  uint64_t instructions() const { return cpu_.instructions(); }
  const cpu::UnknownOpcodes& unknownOpcodes() const { return cpu_.unknownOpcodes(); }

 protected:
  // Where the backends differ by constants only.
  struct Rules {
    uint64_t cr0Forced;  // bits of CR0 that read 1 whatever was set
    uint64_t cr8Mask;    // bits of CR8, of DR6 that are kept
    uint64_t dr6Mask;
    uint64_t eferHidden;    // bits of EFER that belong to the host
    bool tableAttributes;   // GDT and IDT keep selector and attributes
    bool instructionBytes;  // MEMORY exits carry them
    bool (*nativeMsr)(uint32_t msr, bool write);
  };

  Backend(const Setup& setup, const Rules& rules);

  enum class MsrAccess { Done, Fault, Exit };

  virtual MsrAccess readMsr(uint32_t msr, uint64_t* value) = 0;
  virtual MsrAccess writeMsr(uint32_t msr, uint64_t value) = 0;
  virtual bool& nmiWindow() = 0;  // the control that stands for it
  virtual void memoryExit(const cpu::Exit& hw, abi::nvmm_x86_exit& exit);
  virtual void refuseEntry(const cpu::Exit& hw, abi::nvmm_x86_exit& exit) = 0;
  virtual void handle(const cpu::Exit& hw, abi::nvmm_x86_exit& exit) = 0;  // the exits that enter() leaves to it

  // What XSETBV may set, and CPUID shows.
  uint64_t xcr0Mask() const { return model_.xcr0; }
  void setXcr0(const cpu::Exit& hw, bool allowed);

  void advance(const cpu::Exit& hw);  // the kernel has carried the instruction out
  void fault(uint8_t vector);         // the kernel raises #UD or #GP(0), through the comm page's event
  void provide(uint64_t pieces);      // leaves them in the comm page for the caller
  static void invalid(abi::nvmm_x86_exit& exit, uint64_t hwcode);

  const cpu::Model& model_;
  const Rules& rules_;
  GuestMemory& memory_;
  CommPage& comm_;
  cpu::Cpu cpu_;
  bool evtPending_ = false;

 private:
  struct CpuidEntry {
    bool used;
    abi::nvmm_vcpu_conf_cpuid conf;
  };

  void setSegments(const abi::nvmm_x64_state_seg (&from)[abi::NVMM_X64_NSEG]);
  void getSegments(abi::nvmm_x64_state_seg (&to)[abi::NVMM_X64_NSEG]);
  void setFpu(const abi::fxsave& from);
  void ioExit(const cpu::Exit& hw, abi::nvmm_x86_exit& exit);
  void cpuidExit(const cpu::Exit& hw, abi::nvmm_x86_exit& exit);
  void msrExit(const cpu::Exit& hw, abi::nvmm_x86_exit& exit);
  uint64_t intrBits();

  const uint32_t vcpu_;
  const std::atomic<uint32_t>& vcpuCount_;
  struct TableAttributes {
    uint16_t selector, attrib;
  } gdt_ = {}, idt_ = {};
  std::array<CpuidEntry, abi::kConfCpuidMaxops> cpuid_ = {};
};

// The two, in files of their own.
std::unique_ptr<Backend> createSvmBackend(const Backend::Setup& setup);
std::unique_ptr<Backend> createVmxBackend(const Backend::Setup& setup);

}  // namespace nvmm::mock

// The interface of NetBSD's NVMM driver on amd64, kernel API versions 1 and 2: layouts and numbers, no code.
// Struct, field and constant names are the kernel's (dev/nvmm/nvmm.h, nvmm_ioctl.h, x86/nvmm_x86.h), so that they can
// be looked up there. Bit-fields of the original are plain integers with masks here, because C++ leaves the layout of
// bit-fields to the compiler. Request numbers are NetBSD's encoding and must never come from a host's _IOW macros.
#pragma once

#include <cstdint>

namespace nvmm::abi {

constexpr uint32_t kKernelVersion1 = 1;  // NetBSD 9
constexpr uint32_t kKernelVersion2 = 2;  // NetBSD 10 and later

constexpr uint32_t NVMM_MAX_MACHINES = 128;
constexpr uint32_t NVMM_MAX_VCPUS = 256;
constexpr uint32_t NVMM_MAX_HMAPPINGS = 32;
constexpr uint64_t NVMM_MAX_RAM = 0x2000000000;
constexpr uint64_t kPageSize = 4096;
constexpr uint32_t kConfCpuidMaxops = 32;

constexpr const char* kDevicePath = "/dev/nvmm";

// ---- capability ----------------------------------------------------------------------------------------------------

constexpr uint64_t NVMM_CAP_ARCH_VCPU_CONF_CPUID = 1 << 0;
constexpr uint64_t NVMM_CAP_ARCH_VCPU_CONF_TPR = 1 << 1;

struct nvmm_cap_md {
  uint64_t mach_conf_support;
  uint64_t vcpu_conf_support;
  uint64_t xcr0_mask;
  uint32_t mxcsr_mask;
  uint32_t conf_cpuid_maxops;
  uint64_t rsvd[6];
};

struct nvmm_capability {
  uint32_t version;
  uint32_t state_size;
  uint32_t max_machines;
  uint32_t max_vcpus;
  uint64_t max_ram;
  nvmm_cap_md arch;
};

// ---- state ---------------------------------------------------------------------------------------------------------

constexpr uint64_t NVMM_X64_STATE_SEGS = 0x01;
constexpr uint64_t NVMM_X64_STATE_GPRS = 0x02;
constexpr uint64_t NVMM_X64_STATE_CRS = 0x04;
constexpr uint64_t NVMM_X64_STATE_DRS = 0x08;
constexpr uint64_t NVMM_X64_STATE_MSRS = 0x10;
constexpr uint64_t NVMM_X64_STATE_INTR = 0x20;
constexpr uint64_t NVMM_X64_STATE_FPU = 0x40;
constexpr uint64_t NVMM_X64_STATE_ALL = 0x7f;

enum : uint32_t {
  NVMM_X64_SEG_ES,
  NVMM_X64_SEG_CS,
  NVMM_X64_SEG_SS,
  NVMM_X64_SEG_DS,
  NVMM_X64_SEG_FS,
  NVMM_X64_SEG_GS,
  NVMM_X64_SEG_GDT,
  NVMM_X64_SEG_IDT,
  NVMM_X64_SEG_LDT,
  NVMM_X64_SEG_TR,
  NVMM_X64_NSEG
};

enum : uint32_t {
  NVMM_X64_GPR_RAX,
  NVMM_X64_GPR_RCX,
  NVMM_X64_GPR_RDX,
  NVMM_X64_GPR_RBX,
  NVMM_X64_GPR_RSP,
  NVMM_X64_GPR_RBP,
  NVMM_X64_GPR_RSI,
  NVMM_X64_GPR_RDI,
  NVMM_X64_GPR_R8,
  NVMM_X64_GPR_R9,
  NVMM_X64_GPR_R10,
  NVMM_X64_GPR_R11,
  NVMM_X64_GPR_R12,
  NVMM_X64_GPR_R13,
  NVMM_X64_GPR_R14,
  NVMM_X64_GPR_R15,
  NVMM_X64_GPR_RIP,
  NVMM_X64_GPR_RFLAGS,
  NVMM_X64_NGPR
};

enum : uint32_t {
  NVMM_X64_CR_CR0,
  NVMM_X64_CR_CR2,
  NVMM_X64_CR_CR3,
  NVMM_X64_CR_CR4,
  NVMM_X64_CR_CR8,
  NVMM_X64_CR_XCR0,
  NVMM_X64_NCR
};

enum : uint32_t {
  NVMM_X64_DR_DR0,
  NVMM_X64_DR_DR1,
  NVMM_X64_DR_DR2,
  NVMM_X64_DR_DR3,
  NVMM_X64_DR_DR6,
  NVMM_X64_DR_DR7,
  NVMM_X64_NDR
};

enum : uint32_t {
  NVMM_X64_MSR_EFER,
  NVMM_X64_MSR_STAR,
  NVMM_X64_MSR_LSTAR,
  NVMM_X64_MSR_CSTAR,
  NVMM_X64_MSR_SFMASK,
  NVMM_X64_MSR_KERNELGSBASE,
  NVMM_X64_MSR_SYSENTER_CS,
  NVMM_X64_MSR_SYSENTER_ESP,
  NVMM_X64_MSR_SYSENTER_EIP,
  NVMM_X64_MSR_PAT,
  NVMM_X64_MSR_TSC,
  NVMM_X64_NMSR
};

// Masks of nvmm_x64_state_seg.attrib.
constexpr uint16_t kAttribType = 0x000f;
constexpr uint16_t kAttribS = 0x0010;
constexpr uint16_t kAttribDpl = 0x0060;
constexpr uint16_t kAttribP = 0x0080;
constexpr uint16_t kAttribAvl = 0x0100;
constexpr uint16_t kAttribL = 0x0200;
constexpr uint16_t kAttribDef = 0x0400;
constexpr uint16_t kAttribG = 0x0800;
constexpr uint16_t kAttribRsvd = 0xf000;

struct nvmm_x64_state_seg {
  uint16_t selector;
  uint16_t attrib;
  uint32_t limit;
  uint64_t base;
};

// Masks of nvmm_x64_state_intr.bits, and of nvmm_x86_exit.exitstate.bits, which has the same bits in the same places.
constexpr uint64_t kIntrIntShadow = 1 << 0;
constexpr uint64_t kIntrIntWindowExiting = 1 << 1;
constexpr uint64_t kIntrNmiWindowExiting = 1 << 2;
constexpr uint64_t kIntrEvtPending = 1 << 3;
constexpr uint64_t kIntrRsvd = ~uint64_t{0xf};

struct nvmm_x64_state_intr {
  uint64_t bits;
};

// Ten bytes: the padding that the natural alignment of the mantissa would add is not there.
struct __attribute__((packed, aligned(2))) fpacc87 {
  uint64_t f87_mantissa;
  uint16_t f87_exp_sign;
};

struct alignas(16) fpaccfx {
  fpacc87 r;
};

struct xmmreg {
  uint8_t xmm_bytes[16];
};

struct alignas(16) fxsave {
  uint16_t fx_cw;
  uint16_t fx_sw;
  uint8_t fx_tw;
  uint8_t fx_zero;
  uint16_t fx_opcode;
  union pointer {
    uint64_t fa_64;
    struct {
      uint32_t fa_off;
      uint16_t fa_seg;
      uint16_t fa_opcode;
    } fa_32;
  } fx_ip, fx_dp;
  uint32_t fx_mxcsr;
  uint32_t fx_mxcsr_mask;
  fpaccfx fx_87_ac[8];
  xmmreg fx_xmm[16];
  uint8_t fx_rsvd[96];
};

struct nvmm_x64_state {
  nvmm_x64_state_seg segs[NVMM_X64_NSEG];
  uint64_t gprs[NVMM_X64_NGPR];
  uint64_t crs[NVMM_X64_NCR];
  uint64_t drs[NVMM_X64_NDR];
  uint64_t msrs[NVMM_X64_NMSR];
  nvmm_x64_state_intr intr;
  fxsave fpu;
};

// ---- events and exits ----------------------------------------------------------------------------------------------

constexpr uint32_t NVMM_VCPU_EVENT_EXCP = 0;
constexpr uint32_t NVMM_VCPU_EVENT_INTR = 1;

struct nvmm_x86_event {
  uint32_t type;
  uint8_t vector;
  union {
    struct {
      uint64_t error;
    } excp;
  } u;
};

constexpr uint64_t NVMM_VCPU_EXIT_NONE = 0;
constexpr uint64_t NVMM_VCPU_EXIT_STOPPED = ~uint64_t{1};  // version 2
constexpr uint64_t NVMM_VCPU_EXIT_INVALID = ~uint64_t{0};
constexpr uint64_t NVMM_VCPU_EXIT_MEMORY = 1;
constexpr uint64_t NVMM_VCPU_EXIT_IO = 2;
constexpr uint64_t NVMM_VCPU_EXIT_SHUTDOWN = 0x1000;
constexpr uint64_t NVMM_VCPU_EXIT_INT_READY = 0x1001;
constexpr uint64_t NVMM_VCPU_EXIT_NMI_READY = 0x1002;
constexpr uint64_t NVMM_VCPU_EXIT_HALTED = 0x1003;
constexpr uint64_t NVMM_VCPU_EXIT_TPR_CHANGED = 0x1004;
constexpr uint64_t NVMM_VCPU_EXIT_RDMSR = 0x2000;
constexpr uint64_t NVMM_VCPU_EXIT_WRMSR = 0x2001;
constexpr uint64_t NVMM_VCPU_EXIT_MONITOR = 0x2002;
constexpr uint64_t NVMM_VCPU_EXIT_MWAIT = 0x2003;
constexpr uint64_t NVMM_VCPU_EXIT_CPUID = 0x2004;

struct nvmm_x86_exit_memory {
  int32_t prot;
  uint64_t gpa;
  uint8_t inst_len;
  uint8_t inst_bytes[15];
};

struct nvmm_x86_exit_io {
  bool in;
  uint16_t port;
  int8_t seg;
  uint8_t address_size;
  uint8_t operand_size;
  bool rep;
  bool str;
  uint64_t npc;
};

struct nvmm_x86_exit_rdmsr {
  uint32_t msr;
  uint64_t npc;
};

struct nvmm_x86_exit_wrmsr {
  uint32_t msr;
  uint64_t val;
  uint64_t npc;
};

struct nvmm_x86_exit_insn {
  uint64_t npc;
};

struct nvmm_x86_exit_invalid {
  uint64_t hwcode;
};

struct nvmm_x86_exit {
  uint64_t reason;
  union {
    nvmm_x86_exit_memory mem;
    nvmm_x86_exit_io io;
    nvmm_x86_exit_rdmsr rdmsr;
    nvmm_x86_exit_wrmsr wrmsr;
    nvmm_x86_exit_insn insn;
    nvmm_x86_exit_invalid inv;
  } u;
  struct {
    uint64_t rflags;
    uint64_t cr8;
    uint64_t bits;
  } exitstate;
};

// ---- comm page -----------------------------------------------------------------------------------------------------

struct nvmm_comm_page_v2 {
  uint64_t state_wanted;
  uint64_t state_cached;
  uint64_t state_commit;
  nvmm_x64_state state;
  bool event_commit;
  nvmm_x86_event event;
  int32_t stop;
};

// Version 1 lacks `stop`: those four bytes are padding there, which the kernel never reads.
struct nvmm_comm_page_v1 {
  uint64_t state_wanted;
  uint64_t state_cached;
  uint64_t state_commit;
  nvmm_x64_state state;
  bool event_commit;
  nvmm_x86_event event;
};

// NVMM_COMM_OFF: where mmap(2) on the device finds the page of a VCPU.
constexpr uint64_t commOffset(uint32_t machid, uint32_t cpuid) {
  return (uint64_t{machid & 0xff} << 20) | (uint64_t{cpuid & 0xff} << 12);
}

// ---- configuration -------------------------------------------------------------------------------------------------

constexpr uint64_t NVMM_MACH_CONF_LIBNVMM_BEGIN = 0;
constexpr uint64_t NVMM_MACH_CONF_MI_BEGIN = 100;
constexpr uint64_t NVMM_MACH_CONF_MD_BEGIN = 200;
constexpr uint64_t NVMM_VCPU_CONF_LIBNVMM_BEGIN = 0;
constexpr uint64_t NVMM_VCPU_CONF_MI_BEGIN = 100;
constexpr uint64_t NVMM_VCPU_CONF_MD_BEGIN = 200;
constexpr uint64_t NVMM_VCPU_CONF_CALLBACKS = NVMM_VCPU_CONF_LIBNVMM_BEGIN;
constexpr uint64_t NVMM_VCPU_CONF_CPUID = NVMM_VCPU_CONF_MD_BEGIN;
constexpr uint64_t NVMM_VCPU_CONF_TPR = NVMM_VCPU_CONF_MD_BEGIN + 1;

// Masks of nvmm_vcpu_conf_cpuid.bits.
constexpr uint32_t kConfCpuidMask = 1 << 0;
constexpr uint32_t kConfCpuidExit = 1 << 1;
constexpr uint32_t kConfCpuidRsvd = ~uint32_t{3};

struct nvmm_vcpu_conf_cpuid {
  uint32_t bits;
  uint32_t leaf;
  union {
    struct {
      struct {
        uint32_t eax, ebx, ecx, edx;
      } set, del;
    } mask;
  } u;
};

// Masks of nvmm_vcpu_conf_tpr.bits.
constexpr uint32_t kConfTprExitChanged = 1 << 0;
constexpr uint32_t kConfTprRsvd = ~uint32_t{1};

struct nvmm_vcpu_conf_tpr {
  uint32_t bits;
};

// ---- requests ------------------------------------------------------------------------------------------------------

struct nvmm_ioc_capability {
  nvmm_capability cap;
};

struct nvmm_ioc_machine_create {
  uint32_t machid;
};

struct nvmm_ioc_machine_destroy {
  uint32_t machid;
};

struct nvmm_ioc_machine_configure {
  uint32_t machid;
  uint64_t op;
  void* conf;
};

struct nvmm_ioc_vcpu_create {
  uint32_t machid;
  uint32_t cpuid;
};

struct nvmm_ioc_vcpu_destroy {
  uint32_t machid;
  uint32_t cpuid;
};

struct nvmm_ioc_vcpu_configure {
  uint32_t machid;
  uint32_t cpuid;
  uint64_t op;
  void* conf;
};

struct nvmm_ioc_vcpu_setstate {
  uint32_t machid;
  uint32_t cpuid;
};

struct nvmm_ioc_vcpu_getstate {
  uint32_t machid;
  uint32_t cpuid;
};

struct nvmm_ioc_vcpu_inject {
  uint32_t machid;
  uint32_t cpuid;
};

struct nvmm_ioc_vcpu_run {
  uint32_t machid;
  uint32_t cpuid;
  nvmm_x86_exit exit;
};

struct nvmm_ioc_hva_map {
  uint32_t machid;
  uint64_t hva;
  uint64_t size;
  int32_t flags;
};

struct nvmm_ioc_hva_unmap {
  uint32_t machid;
  uint64_t hva;
  uint64_t size;
  int32_t flags;
};

struct nvmm_ioc_gpa_map {
  uint32_t machid;
  uint64_t hva;
  uint64_t gpa;
  uint64_t size;
  int32_t prot;
};

struct nvmm_ioc_gpa_unmap {
  uint32_t machid;
  uint64_t gpa;
  uint64_t size;
};

constexpr int32_t NVMM_CTL_MACH_INFO = 0;

struct nvmm_ctl_mach_info {
  uint32_t machid;
  uint32_t nvcpus;
  uint64_t nram;
  int32_t pid;
  int64_t time;
};

struct nvmm_ioc_ctl {
  int32_t op;
  void* data;
  uint64_t size;
};

constexpr uint32_t NVMM_IOC_CAPABILITY = 0x40684e00;
constexpr uint32_t NVMM_IOC_MACHINE_CREATE = 0xc0044e01;
constexpr uint32_t NVMM_IOC_MACHINE_DESTROY = 0x80044e02;
constexpr uint32_t NVMM_IOC_MACHINE_CONFIGURE = 0x80184e03;
constexpr uint32_t NVMM_IOC_VCPU_CREATE = 0x80084e04;
constexpr uint32_t NVMM_IOC_VCPU_DESTROY = 0x80084e05;
constexpr uint32_t NVMM_IOC_VCPU_CONFIGURE = 0x80184e06;
constexpr uint32_t NVMM_IOC_VCPU_SETSTATE = 0x80084e07;
constexpr uint32_t NVMM_IOC_VCPU_GETSTATE = 0x80084e08;
constexpr uint32_t NVMM_IOC_VCPU_INJECT = 0x80084e09;
constexpr uint32_t NVMM_IOC_VCPU_RUN = 0xc0484e0a;
constexpr uint32_t NVMM_IOC_GPA_MAP = 0x80284e0b;
constexpr uint32_t NVMM_IOC_GPA_UNMAP = 0x80184e0c;
constexpr uint32_t NVMM_IOC_HVA_MAP = 0x80204e0d;
constexpr uint32_t NVMM_IOC_HVA_UNMAP = 0x80204e0e;
constexpr uint32_t NVMM_IOC_CTL = 0x80184e14;

// The parts of a request number: sys/ioccom.h, whose own names are macros on most hosts.
constexpr uint32_t kIocVoid = 0x20000000;
constexpr uint32_t kIocOut = 0x40000000;
constexpr uint32_t kIocIn = 0x80000000;
constexpr uint32_t kIocInout = kIocIn | kIocOut;
constexpr uint32_t kIocDirMask = 0xe0000000;
constexpr uint32_t kIocParmMask = 0x1fff;
constexpr uint32_t kIocParmShift = 16;
constexpr uint32_t kIocGroupShift = 8;

}  // namespace nvmm::abi

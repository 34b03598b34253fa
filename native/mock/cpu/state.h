// The architectural state of one processor: what a program or a hypervisor can see of it, and nothing derived.
#pragma once

#include <cstdint>

namespace nvmm::cpu {

enum Gpr : uint8_t { RAX, RCX, RDX, RBX, RSP, RBP, RSI, RDI, R8, R9, R10, R11, R12, R13, R14, R15 };
enum Seg : uint8_t { ES, CS, SS, DS, FS, GS };

// A segment register with its hidden part. `attrib` has the layout of the descriptor's access rights: type 0..3, S 4,
// DPL 5..6, P 7, AVL 8, L 9, D/B 10, G 11. `limit` is in bytes whatever G says. An unusable (null) segment has P = 0.
struct Segment {
  uint16_t selector;
  uint16_t attrib;
  uint32_t limit;
  uint64_t base;

  unsigned type() const { return attrib & 0xf; }
  bool system() const { return !(attrib & 0x10); }
  unsigned dpl() const { return attrib >> 5 & 3; }
  bool present() const { return attrib & 0x80; }
  bool longMode() const { return attrib & 0x200; }
  bool big() const { return attrib & 0x400; }  // D/B
};

// Memory types that an entry of PAT can have: 0, 1, 4..7.
constexpr bool validPat(uint64_t pat) {
  return !(pat & 0xf8f8f8f8f8f8f8f8) && !(pat >> 1 & ~(pat >> 2) & 0x0101010101010101);
}

struct TableRegister {
  uint64_t base;
  uint32_t limit;
};

// RFLAGS
constexpr uint64_t kCF = 1 << 0, kPF = 1 << 2, kAF = 1 << 4, kZF = 1 << 6, kSF = 1 << 7, kTF = 1 << 8, kIF = 1 << 9,
                   kDF = 1 << 10, kOF = 1 << 11, kIOPL = 3 << 12, kNT = 1 << 14, kRF = 1 << 16, kVM = 1 << 17,
                   kAC = 1 << 18, kVIF = 1 << 19, kVIP = 1 << 20, kID = 1 << 21;
constexpr uint64_t kFlagsFixed = 1 << 1;
constexpr uint64_t kArithmeticFlags = kCF | kPF | kAF | kZF | kSF | kOF;

// CR0
constexpr uint64_t kPE = 1 << 0, kMP = 1 << 1, kEM = 1 << 2, kTS = 1 << 3, kET = 1 << 4, kNE = 1 << 5, kWP = 1 << 16,
                   kAM = 1 << 18, kNW = 1 << 29, kCD = 1 << 30, kPG = 1u << 31;

// CR4
constexpr uint64_t kVME = 1 << 0, kPVI = 1 << 1, kTSD = 1 << 2, kDE = 1 << 3, kPSE = 1 << 4, kPAE = 1 << 5,
                   kMCE = 1 << 6, kPGE = 1 << 7, kPCE = 1 << 8, kOSFXSR = 1 << 9, kOSXMMEXCPT = 1 << 10,
                   kUMIP = 1 << 11, kFSGSBASE = 1 << 16, kPCIDE = 1 << 17, kOSXSAVE = 1 << 18, kSMEP = 1 << 20,
                   kSMAP = 1 << 21;

// EFER
constexpr uint64_t kSCE = 1 << 0, kLME = 1 << 8, kLMA = 1 << 10, kNXE = 1 << 11, kSVME = 1 << 12, kFFXSR = 1 << 14,
                   kTCE = 1 << 15;

struct alignas(16) Xmm {
  uint64_t lane[2];
};

struct FpuImage {  // the 64-bit FXSAVE image
  uint16_t fcw, fsw;
  uint8_t ftw;  // abridged: a bit for each register, set if it is not empty
  uint8_t reserved;
  uint16_t fop;
  uint64_t fip, fdp;  // FCS and FDS always read 0
  uint32_t mxcsr, mxcsrMask;
  struct alignas(16) {
    uint64_t significand;
    uint16_t signExponent;
  } st[8];  // by distance from TOP; with TOP = 0 the MMX registers
  Xmm xmm[16];
  uint8_t unused[96];
};
static_assert(sizeof(FpuImage) == 512, "as FXSAVE stores it");

struct State {
  uint64_t gpr[17];  // [16] stays 0: the base or index of an address that has none
  uint64_t rip;
  uint64_t rflags;  // arithmetic flags are true here only outside Cpu::run: see flags.h
  Segment seg[6];
  Segment ldtr, tr;
  TableRegister gdtr, idtr;
  uint64_t cr0, cr2, cr3, cr4, cr8, xcr0;
  uint64_t dr[4], dr6, dr7;
  uint64_t efer, star, lstar, cstar, sfmask, kernelGsBase;
  uint64_t sysenterCs, sysenterEsp, sysenterEip;
  uint64_t pat;
  uint64_t tscOffset;    // RDTSC = the clock of the CPU + this
  unsigned cpl;          // kept beside SS.dpl and CS.rpl, as the hardware's control block does
  bool interruptShadow;  // of STI or MOV SS: lasts for one instruction boundary
  bool shadowOfSti;      // which of the two: VMX wants IF = 1 in that of STI
  bool nmiBlocked;       // from the delivery of an NMI to the next IRET
  FpuImage fpu;
};

}  // namespace nvmm::cpu

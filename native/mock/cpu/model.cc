// The two processors that are modelled: what the software CPU executes, in the clothes of an AMD family 17h and of an
// Intel Haswell. CPUID leaves that only describe the host (caches, brand string) are plausible constants.
#include "model.h"

#include <cstring>

#include "state.h"

namespace nvmm::cpu {
namespace {

constexpr uint32_t bit(unsigned n) { return 1u << n; }

// Leaf 1. OSXSAVE is shown set, as under a running operating system: whoever virtualizes CPUID makes it follow CR4.
constexpr uint32_t kSse3 = bit(0), kMonitor = bit(3), kSsse3 = bit(9), kCx16 = bit(13), kPcid = bit(17),
                   kSse41 = bit(19), kSse42 = bit(20), kMovbe = bit(22), kPopcnt = bit(23), kXsave = bit(26),
                   kOsxsave = bit(27);
constexpr uint32_t kFpu = bit(0), kVmeFeature = bit(1), kDeFeature = bit(2), kPseFeature = bit(3), kTsc = bit(4),
                   kMsr = bit(5), kPaeFeature = bit(6), kMceFeature = bit(7), kCx8 = bit(8), kApic = bit(9),
                   kSep = bit(11), kPgeFeature = bit(13), kCmov = bit(15), kPat = bit(16), kPse36 = bit(17),
                   kClfsh = bit(19), kMmx = bit(23), kFxsr = bit(24), kSse = bit(25), kSse2 = bit(26);
constexpr uint32_t kLeaf1Ecx =
    kSse3 | kMonitor | kSsse3 | kCx16 | kSse41 | kSse42 | kMovbe | kPopcnt | kXsave | kOsxsave;
constexpr uint32_t kLeaf1Edx = kFpu | kVmeFeature | kDeFeature | kPseFeature | kTsc | kMsr | kPaeFeature | kMceFeature |
                               kCx8 | kApic | kSep | kPgeFeature | kCmov | kPat | kPse36 | kClfsh | kMmx | kFxsr |
                               kSse | kSse2;

// Leaf 7
constexpr uint32_t kFsgsbaseFeature = bit(0), kBmi1 = bit(3), kSmepFeature = bit(7), kBmi2 = bit(8), kErms = bit(9),
                   kInvpcid = bit(10), kAdx = bit(19), kSmapFeature = bit(20);
constexpr uint32_t kFdpExceptionOnly = bit(6), kFpuSelectorsZero = bit(13);  // of the x87: FDP, FCS and FDS
constexpr uint32_t kUmipFeature = bit(2);
constexpr uint32_t kLeaf7Ebx = kFsgsbaseFeature | kBmi1 | kSmepFeature | kBmi2 | kErms | kAdx | kSmapFeature;
constexpr uint32_t kIntelLeaf7Ebx = kLeaf7Ebx | kFdpExceptionOnly | kInvpcid | kFpuSelectorsZero;

// Leaf 80000001
constexpr uint32_t kLahf64 = bit(0), kLzcnt = bit(5), kPrefetchw = bit(8), kTceFeature = bit(17);
constexpr uint32_t kSyscall = bit(11), kNx = bit(20), kMmxext = bit(22), kFfxsrFeature = bit(25), kPage1Gb = bit(26),
                   kRdtscp = bit(27), kLm = bit(29);
// AMD repeats these bits of leaf 1 in leaf 80000001; SYSCALL takes the place of SEP.
constexpr uint32_t kAmdRepeated = kLeaf1Edx & ~kSep & 0x0183f3ff;

constexpr uint32_t kRstrFpErrPtrs = bit(2);  // leaf 80000008: FXRSTOR and XRSTOR load the x87's pointers in any case

// CR4 bits that both processors have.
constexpr uint64_t kCr4Bits = kVME | kPVI | kTSD | kDE | kPSE | kPAE | kMCE | kPGE | kPCE | kOSFXSR | kOSXMMEXCPT |
                              kUMIP | kFSGSBASE | kOSXSAVE | kSMEP | kSMAP;
constexpr uint64_t kCr0UpperHalf = 0xffffffff00000000;  // the other reserved bits of CR0 are ignored when written

constexpr uint64_t kXcr0 = 3;         // x87 and SSE
constexpr uint32_t kXsaveSize = 576;  // legacy area and header

constexpr Model kAmd = {Vendor::Amd, 40, kCr0UpperHalf, ~kCr4Bits, ~(kSCE | kLME | kLMA | kNXE | kSVME | kFFXSR | kTCE),
                        0xffff,      48, kXcr0};

constexpr Model kIntel = {Vendor::Intel, 39, kCr0UpperHalf, ~(kCr4Bits | kPCIDE), ~(kSCE | kLME | kLMA | kNXE),
                          0xffff,        64, kXcr0};

// Twelve characters in three registers.
CpuidResult vendorLeaf(uint32_t highest, const char (&name)[13]) {
  CpuidResult result = {highest, 0, 0, 0};
  std::memcpy(&result.ebx, name, 4);
  std::memcpy(&result.edx, name + 4, 4);
  std::memcpy(&result.ecx, name + 8, 4);
  return result;
}

// Sixteen of the 48 characters of the brand string.
CpuidResult brandLeaf(const char (&name)[49], uint32_t leaf) {
  CpuidResult result;
  std::memcpy(&result, name + (leaf - 0x80000002) * 16, 16);
  return result;
}

CpuidResult xsaveLeaf(uint32_t subleaf) {
  if (subleaf != 0) return {};
  return {static_cast<uint32_t>(kXcr0), kXsaveSize, kXsaveSize, 0};
}

constexpr CpuidResult kMonitorLeaf = {64, 64, 3, 0};  // line size 64; interrupts break the wait, even masked ones
constexpr uint32_t kClflushAndCount = 8 << 8 | 1 << 16;

CpuidResult cpuidAmd(uint32_t leaf, uint32_t subleaf) {
  switch (leaf) {
    case 0: return vendorLeaf(0xd, "AuthenticAMD");
    case 1: return {0x00800f12, kClflushAndCount, kLeaf1Ecx, kLeaf1Edx};
    case 5: return kMonitorLeaf;
    case 7: return subleaf == 0 ? CpuidResult{0, kLeaf7Ebx, kUmipFeature, 0} : CpuidResult{};
    case 0xd: return xsaveLeaf(subleaf);
    case 0x80000000: return vendorLeaf(0x8000001f, "AuthenticAMD");
    case 0x80000001:
      return {0x00800f12, 0, kLahf64 | kLzcnt | kPrefetchw | kTceFeature,
              kAmdRepeated | kSyscall | kNx | kMmxext | kFfxsrFeature | kPage1Gb | kRdtscp | kLm};
    case 0x80000002:
    case 0x80000003:
    case 0x80000004: return brandLeaf("AMD-compatible software processor               ", leaf);
    case 0x80000005: return {0xff40ff40, 0xff40ff40, 0x20080140, 0x40040140};
    case 0x80000006: return {0x26006400, 0x66006400, 0x02006140, 0x00108140};
    case 0x80000008: return {kAmd.physicalAddressBits | 48u << 8, kRstrFpErrPtrs, 0, 0};
    case 0x80000019: return {0xf040f040, 0, 0, 0};
    case 0x8000001a: return {bit(0), 0, 0, 0};
    default: return {};
  }
}

CpuidResult cpuidIntel(uint32_t leaf, uint32_t subleaf) {
  constexpr uint32_t kHighestBasic = 0xd, kHighestExtended = 0x80000008;
  if ((leaf > kHighestBasic && leaf < 0x80000000) || leaf > kHighestExtended) leaf = kHighestBasic;
  switch (leaf) {
    case 0: return vendorLeaf(kHighestBasic, "GenuineIntel");
    case 1: return {0x000306c3, kClflushAndCount, kLeaf1Ecx | kPcid, kLeaf1Edx};
    case 2: return {0x76036301, 0x00f0b5ff, 0, 0x00c10000};
    case 4:  // 32 KiB data, 32 KiB code, 256 KiB unified, 8 MiB unified
      switch (subleaf) {
        case 0: return {0x00000121, 0x01c0003f, 63, 0};
        case 1: return {0x00000122, 0x01c0003f, 63, 0};
        case 2: return {0x00000143, 0x01c0003f, 511, 0};
        case 3: return {0x00000163, 0x03c0003f, 8191, 6};
        default: return {};
      }
    case 5: return kMonitorLeaf;
    case 7: return subleaf == 0 ? CpuidResult{0, kIntelLeaf7Ebx, kUmipFeature, 0} : CpuidResult{};
    case 0xb:  // one thread in one core
      if (subleaf == 0) return {0, 1, 1 << 8, 0};
      if (subleaf == 1) return {0, 1, 1 | 2 << 8, 0};
      return {0, 0, subleaf & 0xff, 0};
    case 0xd: return xsaveLeaf(subleaf);
    case 0x80000000: return {kHighestExtended, 0, 0, 0};
    case 0x80000001: return {0, 0, kLahf64 | kLzcnt | kPrefetchw, kSyscall | kNx | kPage1Gb | kRdtscp | kLm};
    case 0x80000002:
    case 0x80000003:
    case 0x80000004: return brandLeaf("Intel-compatible software processor             ", leaf);
    case 0x80000006: return {0, 0, 0x01006040, 0};
    case 0x80000008: return {kIntel.physicalAddressBits | 48u << 8, 0, 0, 0};
    default: return {};
  }
}

}  // namespace

CpuidResult Model::cpuid(uint32_t leaf, uint32_t subleaf) const {
  return vendor == Vendor::Amd ? cpuidAmd(leaf, subleaf) : cpuidIntel(leaf, subleaf);
}

const Model& model(Vendor vendor) { return vendor == Vendor::Amd ? kAmd : kIntel; }

}  // namespace nvmm::cpu

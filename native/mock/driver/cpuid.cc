#include "cpuid.h"

#include <algorithm>

#include "../cpu/state.h"

namespace nvmm::mock {

using cpu::CpuidResult;

namespace {

constexpr uint32_t kHypervisorLeaf = 0x40000000;

// The bits of a leaf that the driver passes on.
constexpr CpuidResult kMask1 = {0xffffffff, 0x00ffffff, 0x6ed83203, 0x9f8bab7f};
constexpr CpuidResult kMask7 = {0, 0x019ca3c9, 0x1a000705, 0x20004410};
constexpr CpuidResult kMask80000001 = {0xffffffff, 0xffffffff, 0x006309f3, 0xe7d80800};
constexpr CpuidResult kMask80000007 = {0, 0, 0, 0x00000100};
constexpr CpuidResult kMask80000008 = {0xffffffff, 0x00000205, 0xffffffff, 0};

constexpr uint32_t kPcid = 1 << 17, kOsxsave = 1 << 27, kHypervisor = 1u << 31;  // 1.ECX
constexpr uint32_t kInvpcid = 1 << 10;                                           // 7.EBX
constexpr uint32_t kXsaveFeatures = 7;                                           // D.1.EAX: XSAVEOPT, XSAVEC, XGETBV1

constexpr CpuidResult operator&(const CpuidResult& a, const CpuidResult& b) {
  return {a.eax & b.eax, a.ebx & b.ebx, a.ecx & b.ecx, a.edx & b.edx};
}

constexpr uint32_t log2Floor(uint32_t value) { return value < 2 ? 0 : 1 + log2Floor(value / 2); }

// The topology leaf that the VMX backend makes up: every VCPU is a core with one thread.
CpuidResult topology(uint32_t subleaf, const CpuidView& view) {
  constexpr uint32_t kThread = 1 << 8, kCore = 2 << 8;
  switch (subleaf) {
    case 0: return {0, 0, kThread, view.vcpu};
    case 1: return {log2Floor(view.vcpuCount), view.vcpuCount, 1 | kCore, view.vcpu};
    default: return {};
  }
}

// FXSAVE area and header; x87 alone needs less of the former.
CpuidResult xsave(const CpuidResult& host, const cpu::Model& model, uint32_t subleaf, const CpuidView& view) {
  constexpr uint32_t kHeader = 64, kFxsave = 512, kX87 = 108;
  constexpr uint64_t kSse = 2;
  if (model.xcr0 == 0) return host;
  switch (subleaf) {
    case 0:
      return {static_cast<uint32_t>(model.xcr0), kHeader + (view.xcr0 & kSse ? kFxsave : kX87), kHeader + kFxsave,
              static_cast<uint32_t>(model.xcr0 >> 32)};
    case 1: return {host.eax & kXsaveFeatures, 0, 0, 0};
    default: return {};
  }
}

}  // namespace

CpuidResult filteredCpuid(const cpu::Model& model, uint32_t leaf, uint32_t subleaf, const CpuidView& view) {
  const bool intel = model.vendor == cpu::Vendor::Intel;
  const uint32_t highestBasic = std::min<uint32_t>(model.cpuid(0, 0).eax, intel ? 0x16 : 0xd);
  const uint32_t highestExtended = std::min<uint32_t>(model.cpuid(0x80000000, 0).eax, intel ? 0x80000008 : 0x8000001f);
  const uint32_t limit = leaf < kHypervisorLeaf ? highestBasic : leaf < 0x80000000 ? kHypervisorLeaf : highestExtended;
  if (leaf > limit) leaf = highestBasic;

  const CpuidResult host = model.cpuid(leaf, subleaf);
  const bool invpcid = intel && model.cpuid(7, 0).ebx & kInvpcid;
  switch (leaf) {
    case 0: return {highestBasic, host.ebx, host.ecx, host.edx};
    case 1: {
      CpuidResult result = host & kMask1;
      result.ebx |= view.vcpu << 24;
      result.ecx |= kHypervisor | (invpcid ? kPcid : 0);
      if (!(view.cr4 & cpu::kOSXSAVE)) result.ecx &= ~kOsxsave;
      return result;
    }
    case 7: {
      if (subleaf != 0) return {};
      CpuidResult result = host & kMask7;
      result.ebx |= invpcid ? kInvpcid : 0;
      return result;
    }
    case 0xb: return intel ? topology(subleaf, view) : CpuidResult{};
    case 0xd: return xsave(host, model, subleaf, view);
    case 2:
    case 4:
    case 0x15:
    case 0x16: return intel ? host : CpuidResult{};
    case kHypervisorLeaf: return {kHypervisorLeaf, 0x205f5f5f, 0x4d4d564e, 0x5f5f5f20};  // "___ NVMM ___"
    case 0x80000000: return {highestExtended, host.ebx, host.ecx, host.edx};
    case 0x80000001: return host & kMask80000001;
    case 0x80000002:
    case 0x80000003:
    case 0x80000004:
    case 0x80000005:
    case 0x80000006: return host;
    case 0x80000007: return host & kMask80000007;
    case 0x80000008: return host & kMask80000008;
    case 0x80000019:
    case 0x8000001a:
    case 0x8000001d:
    case 0x8000001e: return host;
    default: return {};
  }
}

}  // namespace nvmm::mock

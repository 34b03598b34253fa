// One virtual machine: its VCPUs, host mappings and guest-physical space. The caller holds the machine's lock: as
// writer for info(), hvaMap() and hvaUnmap(), as reader for all else.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <vector>

#include "guest_memory.h"
#include "host_object.h"
#include "vcpu.h"

namespace nvmm::mock {

class Machine {
 public:
  struct Owner {
    uint64_t id;
    int32_t pid;
  };

  // Null where memory is short.
  static std::unique_ptr<Machine> create(const Host& host, const Owner& owner);

  const Owner& owner() const { return owner_; }
  abi::nvmm_ctl_mach_info info(uint32_t machid) const;

  // The caller holds the VCPU's lock as well.
  int createVcpu(uint32_t cpuid);
  int destroyVcpu(uint32_t cpuid);
  template <class Use>
  int withVcpu(uint32_t cpuid, Use use) {
    if (cpuid >= host_.options.maxVcpus) return netbsd::kINVAL;
    const auto& vcpu = vcpus_[cpuid];
    return vcpu ? use(*vcpu) : netbsd::kNOENT;
  }

  int hvaMap(uint64_t hva, uint64_t size);
  int hvaUnmap(uint64_t hva, uint64_t size);
  int gpaMap(uint64_t hva, uint64_t gpa, uint64_t size, int32_t prot);
  int gpaUnmap(uint64_t gpa, uint64_t size);

  // A mapping of a VCPU's comm page; `prot` is the host's. Null on failure.
  void* mapComm(uint32_t cpuid, int prot, bool shared) const;

 private:
  struct HostMapping {
    uint64_t hva, size;
    std::shared_ptr<HostObject> object;  // null: a free slot
  };

  Machine(const Host& host, const Owner& owner, std::shared_ptr<HostObject> comm);
  void flushVcpus();

  const Host host_;
  const Owner owner_;
  const int64_t created_;
  const std::shared_ptr<HostObject> comm_;  // the pages of all VCPUs
  GuestMemory memory_;
  std::array<HostMapping, abi::NVMM_MAX_HMAPPINGS> hostMappings_ = {};
  std::atomic<uint32_t> vcpuCount_{0};
  std::array<std::unique_ptr<Vcpu>, abi::NVMM_MAX_VCPUS> vcpus_;
  std::mutex liveMutex_;  // keeps a VCPU that is being flushed from being destroyed; taken inside the VCPU's lock
  std::vector<Vcpu*> live_;
};

}  // namespace nvmm::mock

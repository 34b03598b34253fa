#include "machine.h"

#include <sys/mman.h>

#include <algorithm>
#include <ctime>

#include "../../abi/netbsd_errno.h"

namespace nvmm::mock {

using namespace abi;

namespace {

constexpr bool aligned(uint64_t value) { return value % kPageSize == 0; }

// No host has user space above this; most end it lower.
constexpr uint64_t kUserSpaceEnd = uint64_t{1} << 48;

void* pointer(uint64_t address) { return reinterpret_cast<void*>(static_cast<uintptr_t>(address)); }

}  // namespace

std::unique_ptr<Machine> Machine::create(const Host& host, const Owner& owner) {
  auto comm = HostObject::create(NVMM_MAX_VCPUS * HostObject::granularity());
  return comm ? std::unique_ptr<Machine>(new Machine(host, owner, std::move(comm))) : nullptr;
}

Machine::Machine(const Host& host, const Owner& owner, std::shared_ptr<HostObject> comm)
    : host_(host),
      owner_(owner),
      created_(static_cast<int64_t>(std::time(nullptr))),
      comm_(std::move(comm)),
      memory_(host.model.vendor) {}

nvmm_ctl_mach_info Machine::info(uint32_t machid) const {
  uint64_t ram = 0;
  for (const HostMapping& mapping : hostMappings_) ram += mapping.object ? mapping.size : 0;
  return {machid, vcpuCount_, ram, owner_.pid, created_};
}

// ---- VCPUs ---------------------------------------------------------------------------------------------------------

int Machine::createVcpu(uint32_t cpuid) {
  if (cpuid >= host_.options.maxVcpus) return netbsd::kINVAL;
  auto& vcpu = vcpus_[cpuid];
  if (vcpu) return netbsd::kBUSY;
  auto& comm = *reinterpret_cast<CommPage*>(comm_->base() + cpuid * HostObject::granularity());
  const Backend::Setup setup{host_.model, memory_, comm, cpuid, vcpuCount_, host_.options.realTime};
  vcpu = std::make_unique<Vcpu>(host_, setup);
  vcpuCount_++;
  std::lock_guard<std::mutex> live(liveMutex_);
  live_.push_back(vcpu.get());
  return netbsd::kOK;
}

int Machine::destroyVcpu(uint32_t cpuid) {
  if (cpuid >= host_.options.maxVcpus) return netbsd::kINVAL;
  auto& vcpu = vcpus_[cpuid];
  if (!vcpu) return netbsd::kNOENT;
  {
    std::lock_guard<std::mutex> live(liveMutex_);
    live_.erase(std::find(live_.begin(), live_.end(), vcpu.get()));
  }
  vcpu.reset();
  vcpuCount_--;
  return netbsd::kOK;
}

void* Machine::mapComm(uint32_t cpuid, int prot, bool shared) const {
  return comm_->map(nullptr, cpuid * HostObject::granularity(), kPageSize, prot, shared);
}

// ---- memory --------------------------------------------------------------------------------------------------------

int Machine::hvaMap(uint64_t hva, uint64_t size) {
  const uint64_t end = hva + size;
  if (!aligned(hva) || !aligned(size) || hva == 0) return netbsd::kINVAL;
  if (end <= hva) return netbsd::kINVAL;
  for (const HostMapping& mapping : hostMappings_) {
    if (!mapping.object) continue;
    const uint64_t mappingEnd = mapping.hva + mapping.size;
    if (hva >= mapping.hva && end <= mappingEnd) break;  // inside: accepted, whatever the slots behind it hold
    if (hva < mappingEnd && end > mapping.hva) return netbsd::kEXIST;
  }
  const auto slot = std::find_if(hostMappings_.begin(), hostMappings_.end(),
                                 [](const HostMapping& mapping) { return !mapping.object; });
  if (slot == hostMappings_.end()) return netbsd::kNOBUFS;
  if (end > kUserSpaceEnd) return netbsd::kINVAL;
  auto object = HostObject::create(size);
  if (!object) return netbsd::kNOMEM;
  if (!object->map(pointer(hva), 0, size, PROT_READ | PROT_WRITE, true)) return netbsd::kINVAL;
  object->closeDescriptor();
  *slot = {hva, size, std::move(object)};
  return netbsd::kOK;
}

int Machine::hvaUnmap(uint64_t hva, uint64_t size) {
  const auto slot = std::find_if(hostMappings_.begin(), hostMappings_.end(), [&](const HostMapping& mapping) {
    return mapping.object && mapping.hva == hva && mapping.size == size;
  });
  if (slot == hostMappings_.end()) return netbsd::kNOENT;
  ::munmap(pointer(hva), size);
  slot->object.reset();  // guest mappings of it hold on to it
  return netbsd::kOK;
}

int Machine::gpaMap(uint64_t hva, uint64_t gpa, uint64_t size, int32_t prot) {
  constexpr int32_t kAllProt = cpu::kReadable | cpu::kWritable | cpu::kExecutable;
  const uint64_t end = gpa + size;
  if (prot & ~kAllProt) return netbsd::kINVAL;
  if (!aligned(gpa) || !aligned(size) || !aligned(hva) || hva == 0) return netbsd::kINVAL;
  if (gpa >= host_.options.maxRam || end <= gpa || end > host_.options.maxRam) return netbsd::kINVAL;
  // The end of the host range may wrap, as the driver's own sum does: there is nothing behind the end of the object
  // then.
  const auto slot = std::find_if(hostMappings_.begin(), hostMappings_.end(), [&](const HostMapping& mapping) {
    return mapping.object && hva >= mapping.hva && hva + size <= mapping.hva + mapping.size;
  });
  if (slot == hostMappings_.end()) return netbsd::kINVAL;
  const auto replaced = memory_.map(gpa, size, slot->object, hva - slot->hva, static_cast<uint8_t>(prot));
  flushVcpus();
  return netbsd::kOK;
}

int Machine::gpaUnmap(uint64_t gpa, uint64_t size) {
  const uint64_t end = gpa + size;
  if (!aligned(gpa) || !aligned(size)) return netbsd::kINVAL;
  if (gpa >= host_.options.maxRam || end <= gpa || end >= host_.options.maxRam) return netbsd::kINVAL;
  const auto removed = memory_.unmap(gpa, size);
  flushVcpus();
  return netbsd::kOK;
}

// Before it returns, no CPU uses a page any more that the map has lost.
void Machine::flushVcpus() {
  std::lock_guard<std::mutex> guard(liveMutex_);
  for (Vcpu* vcpu : live_) vcpu->backend().flushMemory();
}

}  // namespace nvmm::mock

// The guest-physical address space of one machine: which pages of which host objects appear where.
#pragma once

#include <cstdint>
#include <map>
#include <memory>

#include "../cpu/memory.h"
#include "../cpu/model.h"
#include "host_object.h"
#include "rwlock.h"

namespace nvmm::mock {

class GuestMemory final : public cpu::PhysicalMemory {
 public:
  struct Region {
    uint64_t end;  // exclusive
    std::shared_ptr<HostObject> object;
    uint64_t offset;  // in the object; may point behind its end
    uint8_t prot;     // kReadable | kWritable | kExecutable, as asked for
  };
  using Regions = std::map<uint64_t, Region>;  // by first address; they never overlap

  explicit GuestMemory(cpu::Vendor vendor) : vendor_(vendor) {}

  // Both return what they replaced: CPUs may use it until they have been flushed.
  Regions map(uint64_t gpa, uint64_t size, std::shared_ptr<HostObject> object, uint64_t offset, uint8_t prot);
  Regions unmap(uint64_t gpa, uint64_t size);

  cpu::HostPage page(uint64_t gpa) override;

  // Whether the processor's nested table has an entry for `gpa` that it must not have: writable but not readable (VMX).
  bool misconfigured(uint64_t gpa) const;

 private:
  Regions cut(uint64_t begin, uint64_t end);
  Regions::const_iterator find(uint64_t gpa) const;

  const cpu::Vendor vendor_;
  mutable RwLock lock_;
  Regions regions_;
};

}  // namespace nvmm::mock

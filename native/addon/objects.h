// What the addon keeps for JavaScript: an open file, its machines, their memory and VCPUs. Owners point upwards
// (VCPU -> machine -> file -> device), so letting go in any order releases nothing too early; each object's destructor
// releases what it holds, which makes garbage collection the safety net of destroy(), close() and free(). Several
// environments (the main thread, Workers) may share an object: it goes when the last one has let go of it.
//
// Every method may be called from any thread and returns 0 or a NetBSD errno.
#pragma once

#include <algorithm>
#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
#include <mutex>
#include <shared_mutex>
#include <string>
#include <vector>

#include "../abi/nvmm.h"
#include "../device/device.h"

namespace nvmm {

class Coalescer;
class Machine;
class Memory;
class Vcpu;

template <typename T>
void addTo(std::vector<std::weak_ptr<T>>& list, const std::shared_ptr<T>& object) {
  list.erase(std::remove_if(list.begin(), list.end(), [](const auto& weak) { return weak.expired(); }), list.end());
  list.push_back(object);
}

class File {
 public:
  static int open(std::shared_ptr<Device> device, const std::string& path, Access access, std::shared_ptr<File>* file);
  ~File() { close(); }

  int ioctl(uint32_t request, void* argument);
  int capability(abi::nvmm_capability* capability);
  int mapComm(uint64_t offset, void** page);
  // CTL(MACH_INFO): EBUSY while a VCPU of that machine runs, if it was made through this file.
  int machineInfo(abi::nvmm_ctl_mach_info* info);
  // Destroys the machines made through this file first. Waits for machines of others: see Device::close.
  int close();

  // VCPU_RUN without the lock that keeps close() away: the caller holds a VCPU busy, which close() waits for.
  int run(abi::nvmm_ioc_vcpu_run* argument) { return device_->ioctl(fd_, abi::NVMM_IOC_VCPU_RUN, argument); }
  void kick(pthread_t thread) { device_->kick(thread); }

 private:
  friend class Machine;
  File(std::shared_ptr<Device> device, int fd) : device_(std::move(device)), fd_(fd) {}

  const std::shared_ptr<Device> device_;
  const int fd_;
  std::shared_mutex lock_;  // shared by calls that use fd_, so that its number cannot be reused under them
  bool open_ = true;
  std::mutex machinesLock_;  // of these two
  std::vector<std::weak_ptr<Machine>> machines_;
  bool closing_ = false;  // no machine is added any more
};

// Guest-physical addresses and the memory behind them.
struct Area {
  std::shared_ptr<Memory> memory;
  uint64_t offset, gpa, size;
  int prot;
};

class Machine {
 public:
  // What every environment reads of the machine without a call. The generation changes with the areas.
  struct Status {
    std::atomic<uint32_t> generation{0};
    std::atomic<uint32_t> destroyed{0};
  };

  // `maxRam`: where guest-physical memory ends, as the driver's capability says.
  static int create(const std::shared_ptr<File>& file, uint64_t maxRam, std::shared_ptr<Machine>* machine);
  // The machine with that key, if somebody still holds it: how one environment names it to another.
  static std::shared_ptr<Machine> find(uint64_t key);
  ~Machine();

  uint32_t id() const { return id_; }
  uint64_t key() const { return key_; }  // never that of another machine of this process
  const std::shared_ptr<Status>& status() const { return status_; }
  // Stops the VCPUs, waits until none runs, then destroys.
  int destroy();
  int configure(uint64_t op);
  // Of one of the machine's own memories. EEXIST where something is mapped already, EINVAL if the memory is freed.
  int mapGpa(const Area& area);
  // Of exactly one area, or ESRCH. `size` 0: whatever its size.
  int unmapGpa(uint64_t gpa, uint64_t size);
  std::vector<Area> areas();
  // The memory of that id if the guest sees any of it, else null.
  std::shared_ptr<Memory> memory(uint32_t id);
  // Null if there is none, or it is destroyed.
  std::shared_ptr<Vcpu> vcpu(uint32_t id);

  File& file() const { return *file_; }
  // ENOENT once the machine is destroyed: the id may be another machine's by then.
  int ioctl(uint32_t request, void* argument);
  // For requests that the driver would let wait for every running VCPU of the machine: EBUSY while one runs. Runs that
  // begin meanwhile wait for its end, which is short.
  int exclusively(const std::function<int()>& request);
  bool exclusive() const { return exclusive_; }
  bool destroyed() const { return status_->destroyed != 0; }
  void waitForExclusive();
  // ENOENT once the machine is destroyed.
  int add(const std::shared_ptr<Vcpu>& vcpu);

 private:
  friend class Memory;
  Machine(std::shared_ptr<File> file, uint32_t id, uint64_t maxRam);
  int unmap(const Area& area);
  // Takes the memory from the guest, wherever it is mapped. The caller holds lock_.
  void forget(const Memory& memory);

  const std::shared_ptr<File> file_;
  const uint32_t id_;
  const uint64_t maxRam_;
  const uint64_t key_;
  const std::shared_ptr<Status> status_ = std::make_shared<Status>();
  std::mutex destroyLock_;       // held by destroy() to its end, for which whoever calls it again waits
  std::shared_mutex ioctlLock_;  // shared by requests, so that destroy() does not free the id under them
  std::mutex lock_;              // of the lists, and held through exclusive requests
  std::vector<std::weak_ptr<Vcpu>> vcpus_;
  std::vector<Area> areas_;
  std::vector<std::pair<uint8_t*, size_t>> orphans_;  // memory that was let go of while a VCPU ran
  std::atomic<bool> exclusive_{false};
};

// Page-aligned memory attached to a machine: nvmm_hva_map. Environments hold it, as Hold; once it is freed by one and
// let go of by all, the address range is unmapped.
class Memory {
 public:
  static int allocate(const std::shared_ptr<Machine>& machine, size_t size, std::shared_ptr<Memory>* memory);
  ~Memory();

  uint32_t id() const { return id_; }  // one of the machine's, never that of another memory
  uint8_t* base() const { return base_; }
  size_t size() const { return size_; }
  bool freed();
  // Null once nobody has the machine any more.
  std::shared_ptr<Machine> machine() const { return machine_.lock(); }

  // An environment's part: as long as it lives the range stays mapped, so that the views over it stay readable.
  class Hold {
   public:
    // Null if the memory is freed.
    static std::shared_ptr<Hold> of(std::shared_ptr<Memory> memory);
    ~Hold();
    const std::shared_ptr<Memory>& memory() const { return memory_; }
    // Takes the memory from the guest and lets go of it: EBUSY while a VCPU of the machine runs. `detach` comes before
    // the range vanishes, and answers whether nobody of this environment can touch it any more; else the range stays
    // until the hold ends.
    int free(const std::function<bool()>& detach);

   private:
    explicit Hold(std::shared_ptr<Memory> memory) : memory_(std::move(memory)) {}
    const std::shared_ptr<Memory> memory_;
    bool holding_ = true;
  };

 private:
  friend class Machine;
  Memory(const std::shared_ptr<Machine>& machine, uint32_t id, uint8_t* base, size_t size)
      : machine_(machine), id_(id), base_(base), size_(size) {}
  // True for the last one of a freed memory, who has to unmap it.
  bool letGo();
  void markFreed();
  // HVA_UNMAP, on behalf of an owner of the machine, if that still exists.
  int unmap(Machine* machine);

  const std::weak_ptr<Machine> machine_;  // which owns the memory that its guest sees
  const uint32_t id_;
  uint8_t* base_;
  const size_t size_;
  std::mutex lock_;  // of these two
  unsigned holds_ = 0;
  bool freed_ = false;
};

// A thread that runs VCPUs, as something that can be kicked without the danger that it has ended.
class RunnerThread {
 public:
  static const std::shared_ptr<RunnerThread>& current();
  void kick(File& file);
  void ended();

 private:
  std::mutex lock_;
  const pthread_t thread_ = pthread_self();
  bool alive_ = true;  // false: thread_ may name nobody, or somebody else
};

class Vcpu {
 public:
  enum class State : uint32_t { Idle, Running, Delivering };
  // Exits are counted by reason: 0 to 2 as they are, then 0x1000 to 0x1004, 0x2000 to 0x2004, -2, -1, and all others.
  static constexpr size_t kReasons = 16;

  // What every environment reads of the VCPU without a call.
  struct Status {
    std::atomic<State> state{State::Idle};
    std::atomic<uint32_t> destroyed{0};
    std::atomic<uint64_t> exits[kReasons] = {};
    std::atomic<uint64_t> stops{0};
    std::atomic<uint64_t> kicks{0};
    std::atomic<uint64_t> coalesced{0};
  };

  static int create(const std::shared_ptr<Machine>& machine, uint32_t id, bool hasStopField,
                    std::shared_ptr<Vcpu>* vcpu);
  ~Vcpu();

  uint32_t id() const { return id_; }
  abi::nvmm_comm_page_v2* commPage() const { return comm_; }
  // The argument of VCPU_RUN. JavaScript sees its `exit`, where the driver writes, and not the ids before that.
  const std::shared_ptr<abi::nvmm_ioc_vcpu_run>& argument() const { return argument_; }
  const std::shared_ptr<Status>& status() const { return status_; }

  // nvmm_vcpu_run. EBUSY while the VCPU runs already or the result of an asynchronous run is on its way. `thread` is
  // the caller's: looking it up costs as much as a tenth of a run.
  int run(const std::shared_ptr<RunnerThread>& thread);
  // The same in steps, for a thread of our own: claim() on the caller's thread, runClaimed() on the other one, which
  // leaves the result untouchable until release(). Writes for the coalescer, if there is one, don't end the run; the
  // first of a batch is told to `collected`.
  int claim();
  int runClaimed(Coalescer* coalescer, const std::function<void()>& collected);
  void release() { status_->state.store(State::Idle, std::memory_order_release); }
  bool running() const { return status_->state == State::Running; }
  bool destroyed() const { return status_->destroyed != 0; }
  // Whether a run in progress is one of run(), on a thread that JavaScript waits on.
  bool blocksCaller() const { return blocksCaller_; }

  // nvmm_vcpu_stop, never lost: one call ends one run, the present or the next one, with STOPPED. Answers what
  // withdrawStop() takes.
  uint64_t stop();
  // Takes that stop back, unless a run has ended by it, or somebody else has asked for one as well.
  void withdrawStop(uint64_t number);
  bool stopRequested() const { return stopRequested_; }
  // Makes a run in progress end with NONE, or with STOPPED if that was asked for. May be lost, if the run is only
  // beginning.
  void kick();
  // How many runs have ended.
  uint64_t runs() const;

  int getState(uint64_t pieces);
  int configure(uint64_t op, void* conf);
  // Stops the VCPU, waits until it does not run, then destroys it: once for all who ask, none of whom returns before.
  // Its comm page stays mapped, and harmless, until the last owner lets go.
  int destroy();
  // The part of that which concerns threads: after it no run begins.
  void retire();
  // Ends a run in progress on another thread, by kicks alone, and waits for that: at most so long, or false.
  bool interrupt(std::chrono::milliseconds patience) {
    return untilIdle([this] { kick(); }, patience);
  }

 private:
  Vcpu(std::shared_ptr<Machine> machine, uint32_t id, bool hasStopField);
  int enter(const std::shared_ptr<RunnerThread>& thread);
  bool untilIdle(const std::function<void()>& interrupt, std::chrono::milliseconds patience);
  void consumeStop();
  void countExit(uint64_t reason);
  void storeStop(int32_t value);
  template <typename Request>
  int whileIdle(Request request);

  const std::shared_ptr<Machine> machine_;
  const uint32_t id_;
  const bool hasStopField_;
  abi::nvmm_comm_page_v2* comm_ = nullptr;
  const std::shared_ptr<abi::nvmm_ioc_vcpu_run> argument_;
  const std::shared_ptr<Status> status_ = std::make_shared<Status>();
  std::atomic<bool> stopRequested_{false};
  std::atomic<bool> blocksCaller_{true};
  std::mutex destroyLock_;  // as Machine's
  std::mutex lock_;         // of runner_, and of the order in which stopRequested_ and the page's `stop` change
  std::shared_ptr<RunnerThread> runner_;
};

}  // namespace nvmm

// Kicks what one kick may miss. A signal that arrives before its thread has entered the driver is lost, a guest that
// makes no exits runs without end on an idle host, and a thread that waits in the driver for such a guest waits as
// long. One thread for the process, asleep unless there is something to do, and nothing of it lies on the way of a run.
#pragma once

#include <condition_variable>
#include <mutex>
#include <unordered_map>

namespace nvmm {

class Vcpu;

class Kicker {
 public:
  static Kicker& instance();

  // Must be told of every VCPU, by each environment that gets it. `watch`: its runs are ended with NONE from time to
  // time, since JavaScript's own means to end a Worker take effect only between runs.
  void add(Vcpu& vcpu, bool watch);

  // By the VCPU's destructor, before anything else of it ends. The kicker owns no VCPU, not for a moment: the last
  // owner waits in the driver for VCPUs that run, and those would wait to be kicked.
  void remove(Vcpu& vcpu);

  // Kicks a VCPU that was stopped until the run in progress has ended.
  void stopping();

  // While one exists, every VCPU of the process that runs is kicked again and again: for a request that may have to
  // wait in the driver for them, on a thread that must not.
  class Yield {
   public:
    Yield() { instance().yield(+1); }
    ~Yield() { instance().yield(-1); }
    Yield(const Yield&) = delete;
    Yield& operator=(const Yield&) = delete;
  };

 private:
  struct Look {
    bool watch;
    uint64_t lastRun;  // as counted by the VCPU, at the last look
  };

  void yield(int change);
  void loop();
  bool round(bool waitedFor);
  void wakeUp();

  std::mutex lock_;
  std::condition_variable wake_;
  std::unordered_map<Vcpu*, Look> vcpus_;
  unsigned yielding_ = 0;
  bool stopping_ = false;
  bool started_ = false;
};

}  // namespace nvmm

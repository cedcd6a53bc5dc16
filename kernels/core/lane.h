// Lane: an in-order queue of work on a device; Event: a point in such a queue that others can wait for.
//
// A lane is a worker thread (with helpers of its own) on the CPU device and a stream on a GPU. Work on one lane runs in
// the order in which it was queued; work on two lanes overlaps unless an event orders it. There is no default lane:
// every op takes one and returns at once. Lanes are for one queueing thread at a time; Events may be waited for from
// any.
//
// Errors: what goes wrong in queued work is kept, the work queued behind it is passed over, and Synchronize throws it.
// Events still complete, so that nothing hangs, and carry the error to the lanes that wait for them, which rest on
// that work.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>

namespace triforce {

class Device;

struct LaneOptions {
  std::string name;  // of its row in the trace: "compute", "copy"
  int threads = 1;   // CPU device: workers that share each op
  // Its work goes first where that of other lanes could run as well: for short work that others wait for.
  bool high_priority = false;
  // Copy takes at least bytes / so many 10^9 bytes per second, to stand for a slower link; 0: as fast as it goes.
  double copy_gbps = 0;
  // CPU device: until an event is recorded or a host function queued, work may wait for Synchronize, whose thread then
  // does it itself. That spares two threads' waking for each short pass; but the lane does not overlap with another
  // one unless an event says that somebody waits for it.
  bool on_demand = false;
};

struct CopyPiece {
  std::byte* destination = nullptr;
  const std::byte* source = nullptr;
  int64_t bytes = 0;
};

class Event {
 public:
  virtual ~Event() = default;
  // True once all work queued before the latest Record is done; true if never recorded.
  virtual bool Done() const = 0;
  // The host waits until Done.
  virtual void Wait() const = 0;
};

// Work of a lane that was captured once, to be queued again as one piece (Lane::Capture).
class Graph {
 public:
  virtual ~Graph() = default;
  virtual int64_t nodes() const = 0;  // ops and copies
};

class Lane {
 public:
  virtual ~Lane() = default;

  virtual Device& device() const = 0;
  virtual const std::string& name() const = 0;

  // Marks this point of the lane in `event`, which must come from the same device. Recording again moves it.
  virtual void Record(Event& event) = 0;
  // Work queued after this starts once `event`, as recorded now, is done.
  virtual void WaitFor(const Event& event) = 0;
  // The host waits until the lane is empty. Throws what queued work has thrown since the last call.
  virtual void Synchronize() = 0;

  // Queues function(context) on the host, in order with the lane's other work, which waits for its end: for what a
  // device cannot do itself, such as waiting for a disk. It is also called where earlier work has failed. What it
  // throws is the lane's error. `name` (a literal) is the span's in the trace.
  virtual void Call(void (*function)(void* context), void* context, const char* name) = 0;
  // Nanoseconds that the lane has spent so far waiting for events.
  virtual int64_t waited_ns() const = 0;

  // Copies between any memory that the device reaches; `name` (a literal) is the span's in the trace.
  virtual void Copy(void* destination, const void* source, int64_t bytes, const char* name) = 0;
  // The same for many small pieces at once. `pieces` stay where they are until that is done.
  virtual void CopyPieces(std::span<const CopyPiece> pieces, const char* name) = 0;

  // Whether Capture does anything but throw.
  virtual bool captures() const { return false; }
  // Calls queue(), which queues ops and copies on this lane, and keeps them instead of running them. What they are
  // given by value stays as it is then; what they read from memory is read at each replay, so that lengths, positions
  // and tokens which change lie there. Copies are between memory of the device and pinned memory. REQUIRES: queue()
  // neither waits nor records nor calls functions of the host, on this lane or for it. Throws what queue() has thrown,
  // and Error (kUnsupported) where a lane of this device cannot capture.
  virtual std::unique_ptr<Graph> Capture(const std::function<void()>& queue);
  // Queues what was captured, in order with the lane's other work. REQUIRES: a graph of this lane; all memory that it
  // names is still there.
  virtual void Replay(const Graph& graph);
};

}  // namespace triforce

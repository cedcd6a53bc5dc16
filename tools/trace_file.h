// TraceFile: the trace that --trace asks for, and the file that it goes to.
#pragma once

#include <memory>
#include <string>

namespace triforce {

class OutputFile;
class Trace;

class TraceFile {
 public:
  TraceFile();
  ~TraceFile();

  // Throws Error (kIo) where the file cannot be written.
  void Open(const std::string& path);
  // Null where there is none.
  Trace* trace() const { return trace_.get(); }
  // Writes the file, if there is one. REQUIRES: nobody adds to the trace any more. Throws Error (kIo).
  void Write();

 private:
  std::unique_ptr<Trace> trace_;
  std::unique_ptr<OutputFile> file_;
};

}  // namespace triforce

#include "tools/llama_flags.h"

#include <algorithm>
#include <iterator>
#include <ranges>

namespace triforce {
namespace {

constexpr std::string_view kNoConversation =
    "There is no conversation here: generate continues one text, and --prompts several.";
constexpr std::string_view kNoSuchSampler =
    "There is no such sampler here: --temp, --top-k, --top-p, --min-p and the three penalties are, in a fixed order.";
constexpr std::string_view kNoConstraint = "There are no constraints on the text here.";
constexpr std::string_view kRopeOfModel = "There is no flag for it here: RoPE and its scaling are config.json's.";
constexpr std::string_view kKvType = "--kv-type sets the type of keys and values alike.";
constexpr std::string_view kPromptBlocks =
    "There is no flag for it here: the plan decides how a prompt is cut into blocks. --batch is another thing: how "
    "many "
    "of --prompts are decoded side by side.";
constexpr std::string_view kGpu =
    "--device cuda computes on the GPU. The plan decides what stays there: --device-memory limits it, "
    "--resident-weights and --resident-kv say how much of each.";
constexpr std::string_view kDraftPlan = "There is no such flag for the draft here: it is planned with the model.";
constexpr std::string_view kDraftLength =
    "--gamma sets how many tokens are proposed for a verify pass; without it the number adapts to what is accepted.";
constexpr std::string_view kPlainText = "There are no chat templates here: a text goes in as it stands.";
constexpr std::string_view kNoDownload = "Nothing is downloaded here: -m takes the directory of a Hugging Face model.";
constexpr std::string_view kMessages =
    "Messages go to stderr, text to stdout: 2>FILE keeps them, 2>/dev/null drops them.";

constexpr LlamaFlag kLlamaFlags[] = {
    {"-md --model-draft", "draft-model", ""},
    {"--n-predict", "predict", ""},
    {"--temperature", "temp", ""},
    {"--rng-seed", "seed", ""},
    {"--random-prompt", "", "--prompt-tokens N makes up a prompt of random ids."},
    {"--no-escape -no-cnv --no-conversation --no-warmup --no-mmap", "", ""},
    {"-e --escape", "", "A prompt is taken as it stands: give a line break as one, or use --file."},
    {"-i --interactive -if --interactive-first -cnv --conversation -st --single-turn -mli --multiline-input", "",
     kNoConversation},
    {"-r --reverse-prompt", "", "--stop TEXT ends the output where the text comes up."},
    {"-sys --system-prompt -sysf --system-prompt-file --chat-template --chat-template-file --jinja --no-jinja "
     "--in-prefix --in-suffix -sp --special",
     "", kPlainText},
    {"-co --color --colors", "", "At a terminal, -v colours tokens by how they were proposed."},
    {"-ngl --gpu-layers --n-gpu-layers -sm --split-mode -ts --tensor-split", "", kGpu},
    {"-mg --main-gpu -dev", "", "--device cuda:N computes on GPU number N."},
    {"-nkvo --no-kv-offload", "", "--resident-kv 0 keeps the prompt's KV off the device."},
    {"--mlock", "", "--pinned-memory SIZE limits what is locked; where nothing else is said, host memory is."},
    {"--numa", "", "--numa-node N says on which NUMA node host memory lies."},
    {"-ctk --cache-type-k -ctv --cache-type-v", "", kKvType},
    {"-fa --flash-attn", "", "There is no other way here: attention never stores its scores. Leave the flag out."},
    {"-b --batch-size -ub --ubatch-size", "", kPromptBlocks},
    {"-np --parallel -ns --sequences", "", "--prompts FILE decodes several texts, --batch of them side by side."},
    {"-tb --threads-batch", "", "--threads is for prompts and for decoding."},
    {"--draft --draft-max --draft-n --draft-min --draft-n-min", "", kDraftLength},
    {"--draft-p-min --draft-p-split -cd --ctx-size-draft -ngld --gpu-layers-draft --n-gpu-layers-draft -devd "
     "--device-draft -td --threads-draft -ctkd -ctvd",
     "", kDraftPlan},
    {"--repeat-last-n", "", "There is no flag for it here: the penalties look at all of the prompt and the output."},
    {"--samplers --sampler-seq --sampling-seq --typical --typical-p --tfs --top-nsigma --top-n-sigma --mirostat "
     "--mirostat-lr --mirostat-ent --dynatemp-range --dynatemp-exp --xtc-probability --xtc-threshold --dry-multiplier "
     "--dry-base --dry-allowed-length --dry-penalty-last-n --dry-sequence-breaker",
     "", kNoSuchSampler},
    {"-l --logit-bias --grammar --grammar-file -j --json-schema -jf --json-schema-file", "", kNoConstraint},
    {"--rope-scaling --rope-scale --rope-freq-base --rope-freq-scale --yarn-orig-ctx --yarn-ext-factor "
     "--yarn-attn-factor --yarn-beta-slow --yarn-beta-fast",
     "", kRopeOfModel},
    {"--keep --context-shift --no-context-shift", "",
     "Nothing is dropped from a context here: -c says how long it is."},
    {"--prompt-cache --prompt-cache-all --prompt-cache-ro", "", "There is no cache of prompts on disk here."},
    {"--lora --lora-scaled --control-vector", "", "There are no adapters here: merge them into the model first."},
    {"-hf -hfr --hf-repo -hff --hf-file -mu --model-url", "", kNoDownload},
    {"--log-disable --log-file --log-colors -lv --verbosity --log-verbosity", "", kMessages},
    {"-ps -pps --perf --no-perf", "", "There is no flag for it here: times are always told, --stats-json writes them."},
};

}  // namespace

const LlamaFlag* FindLlamaFlag(std::string_view argument) {
  const auto* const found = std::find_if(std::begin(kLlamaFlags), std::end(kLlamaFlags), [&](const LlamaFlag& flag) {
    for (const auto name : std::views::split(flag.names, ' ')) {
      if (std::string_view(name.begin(), name.end()) == argument) return true;
    }
    return false;
  });
  return found == std::end(kLlamaFlags) ? nullptr : found;
}

}  // namespace triforce

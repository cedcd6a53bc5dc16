#include "offload/retrieval_index.h"

#include <algorithm>
#include <cmath>

#include "kernels/core/check.h"
#include "kernels/core/trace.h"
#include "kernels/ops/chunk_mass.h"
#include "kernels/ops/chunk_means.h"
#include "kernels/ops/chunk_permute.h"
#include "kernels/ops/chunk_places.h"
#include "kernels/ops/chunk_select.h"
#include "kernels/ops/chunk_shares.h"

namespace triforce {
namespace {

// Newest tokens whose chunks are always chosen.
constexpr int64_t kRecentTokens = 64;
// Last rows of a prompt whose attention is weighed.
constexpr int64_t kWeighedRows = 32;

// So many bytes of what lies on disk.
Transfer PartOf(const Transfer& whole, int64_t offset, int64_t bytes) {
  const int64_t begin = whole.disk_offset + offset, page = begin / DiskTier::kAlignmentBytes;
  return {.purpose = Purpose::kGuests,
          .bytes = bytes,
          .disk_offset = page * DiskTier::kAlignmentBytes,
          .skipped_bytes = begin - page * DiskTier::kAlignmentBytes};
}

}  // namespace

RetrievalIndex::RetrievalIndex(Device& device, Link& link, const KvStore& store, const Plan& plan)
    : link_(link),
      store_(store),
      plan_(plan),
      sizes_(RetrievalSizesOf(plan.input)),
      layers_(plan.shard.layers),
      kv_heads_(plan.shard.kv_heads),
      head_dim_(plan.shard.head_dim),
      chunk_tokens_(plan.input.options.chunk_tokens),
      tile_bytes_(kKeyTile * head_dim_ * SizeOf(plan.input.kv_type)),
      scale_(1 / std::sqrt(static_cast<float>(head_dim_))),
      gathered_(device.NewEvent()),
      budget_chunks_(sizes_.budget_chunks) {
  Arena sizes;
  Cut(sizes);
  arena_ = Arena(device, sizes.used_bytes(), "the retrieval cache");
  Cut(arena_);
  host_places_.resize(places_.elements());
  host_forced_.reserve(forced_.elements());
  host_selected_.reserve(selected_.elements());
  before_.reserve(selected_.elements());
  host_lists_.resize(lists_.elements());
  guest_of_.resize(Heads());
  zeros_.resize(scores_.elements());
}

void RetrievalIndex::Cut(Arena& arena) {
  const ModelShape& s = plan_.shard;
  means_.clear(), guests_.clear(), queries_.clear();
  for (int64_t layer = 0; layer < layers_; ++layer) {
    means_.push_back(arena.Cut(plan_.input.kv_type, {kv_heads_, sizes_.chunks, head_dim_}));
    queries_.push_back(arena.Cut(DType::kF32, {sizes_.kept_rows, s.q_features() + 2 * s.kv_features()}));
    if (plan_.guest_blocks > 0) {
      guests_.push_back(arena.Cut(plan_.input.kv_type, {plan_.guest_blocks * kv_heads_, 2, kKvBlock * head_dim_}));
    }
  }
  lists_ = arena.Cut(DType::kI64, {layers_, sizes_.list_blocks * kv_heads_, kBlockTiles});
  places_ = arena.Cut(DType::kI32, {Heads() * (sizes_.first_places + sizes_.last_places)});
  forced_ = arena.Cut(DType::kI32, {Heads() * sizes_.budget_chunks});
  selected_ = arena.Cut(DType::kI32, {Heads() * sizes_.budget_chunks});
  scores_ = arena.Cut(DType::kF32, {kv_heads_, sizes_.chunks});
  shares_.clear();
  if (!weighs()) return;
  for (int64_t layer = 0; layer < layers_; ++layer)
    shares_.push_back(arena.Cut(DType::kF32, {kv_heads_, sizes_.chunks}));
  log_masses_ = arena.Cut(DType::kF32, {s.heads, sizes_.chunks});
}

void RetrievalIndex::set_budget(int64_t tokens) {
  budget_chunks_ = tokens / chunk_tokens_;
  TF_CHECK(budget_chunks_ >= kLeastBudgetChunks && tokens <= plan_.input.options.budget_tokens, "{} tokens of {}",
           tokens, plan_.input.options.budget_tokens);
  budget_chunks_ = std::min(budget_chunks_, sizes_.budget_chunks);
  selected_at_ = -1;
}

void RetrievalIndex::set_by_text_alone(bool on) {
  by_text_alone_ = on;
  first_scored_ = on ? store_.tokens() - 1 : 0;
  selected_at_ = -1;
}

void RetrievalIndex::TakeRanks(Lane& compute, int64_t layer, const TensorView& means, const TensorView& order) {
  const int64_t ranked = store_.ranked_chunks();
  selected_at_ = -1;
  mean_chunks_ = ranked;
  prompt_first_ = std::min(sizes_.first_places, ranked);
  prompt_last_ = std::min(sizes_.last_places, ranked);
  places_on_host_ = false;
  ChunkPermute(compute, {means, order, ranked, means_[layer]});
  const int64_t width = prompt_first_ + prompt_last_;
  const TensorView places =
      places_.Slice(0, layer * kv_heads_ * width, (layer + 1) * kv_heads_ * width).Reshape({kv_heads_, width});
  ChunkPlaces(compute, {order, ranked, prompt_first_, prompt_last_, places});
}

void RetrievalIndex::Zero(Lane& compute, const TensorView& t) {
  TF_CHECK(t.elements() <= static_cast<int64_t>(zeros_.size()), "{}", t.ToString());
  compute.Copy(t.data(), zeros_.data(), t.bytes(), "zero");
}

void RetrievalIndex::WeighPrompt(Lane& compute, int64_t layer, const TensorView& q, const KvView& kv,
                                 const TensorView& order) {
  const int64_t ranked = store_.ranked_chunks(), rows = std::min(q.dim(0), kWeighedRows), tokens = store_.tokens();
  Zero(compute, shares_[layer]);
  if (ranked == 0) return;
  Zero(compute, scores_);
  for (int64_t row = q.dim(0) - rows; row < q.dim(0); ++row) {
    const TensorView one = q.Slice(0, row, row + 1).Reshape({q.dim(1), q.dim(2)});
    ChunkMass(compute, {one, kv.Slice(0, KvBlocks(tokens) * kv_heads_), tokens - (q.dim(0) - 1 - row), scale_,
                        chunk_tokens_, log_masses_});
    AddChunkMass(compute, {log_masses_, ranked, scores_});
  }
  const auto column = [](const TensorView& t) { return t.Reshape({t.dim(0), t.dim(1), 1}); };
  ChunkPermute(compute, {column(scores_), order, ranked, column(shares_[layer])});
}

void RetrievalIndex::Weigh(Lane& compute, const TensorView& q, const KvView& kv) {
  ChunkMass(compute, {q, kv, store_.tokens() + 1, scale_, chunk_tokens_, log_masses_});
}

void RetrievalIndex::EndWeighing(Lane& compute, int64_t layer) {
  AddChunkMass(compute, {log_masses_, store_.tokens() / chunk_tokens_ + 1, shares_[layer]});
}

void RetrievalIndex::TakeBack(int64_t tokens) {
  mean_chunks_ = std::min(mean_chunks_, tokens / chunk_tokens_);
  kept_rows_ = std::clamp<int64_t>(tokens - kept_first_, 0, kept_rows_);
  if (tokens < complete_ * chunk_tokens_) selected_at_ = -1;
  // Another text may come to stand where guests were fetched from.
  for (std::vector<Guest>& guests : guest_of_) {
    while (!guests.empty() && guests.back().chunk >= tokens / chunk_tokens_) guests.pop_back();
  }
}

void RetrievalIndex::AddMeans(Lane& compute) {
  const int64_t complete = store_.tokens() / chunk_tokens_;
  if (mean_chunks_ == complete) return;
  for (int64_t layer = 0; layer < layers_; ++layer) {
    ChunkMeans(compute, {.kv = store_.Tail(layer),
                         .first = mean_chunks_,
                         .end = complete,
                         .means = means_[layer],
                         .chunk_tokens = chunk_tokens_});
  }
  mean_chunks_ = complete;
}

RetrievalIndex::Range RetrievalIndex::LeftOut(int64_t layer) const {
  if (by_text_alone_) return {};
  const KvPlan& kv = plan_.layers[layer].kv;
  const int64_t block_chunks = kKvBlock / chunk_tokens_,
                end = std::min(store_.tail_first_block() * block_chunks, complete_);
  return {std::min((kv.resident + kv.host) * block_chunks, end), end};
}

// Appends the places of the first chunks of the text, and of the most recent complete ones.
void RetrievalIndex::AppendForced(int64_t layer, int64_t kv_head, int64_t first, int64_t recent) {
  const int64_t width = prompt_first_ + prompt_last_, ranked = store_.ranked_chunks();
  const int32_t* const places = host_places_.data() + (layer * kv_heads_ + kv_head) * width;
  const Range left_out = LeftOut(layer);
  const size_t begin = host_forced_.size();
  const auto append = [&](int64_t chunk) {
    if (chunk < left_out.first || chunk >= left_out.end) host_forced_.push_back(static_cast<int32_t>(chunk));
  };
  for (int64_t i = 0; i < first; ++i) append(i < prompt_first_ ? places[i] : i);
  for (int64_t i = complete_ - recent; i < complete_; ++i) {
    append(i < ranked ? places[prompt_first_ + prompt_last_ - (ranked - i)] : i);
  }
  // Repetitions count once.
  const int32_t filler = begin < host_forced_.size() ? host_forced_[begin] : 0;
  host_forced_.resize(begin + first + recent, filler);
}

int64_t RetrievalIndex::ChunksToChoose() const {
  int64_t most = budget_chunks_;
  for (int64_t layer = 0; layer < layers_; ++layer) {
    const Range left_out = LeftOut(layer);
    most = std::min(most, complete_ - (left_out.end - left_out.first));
  }
  return most;
}

void RetrievalIndex::Select(Lane& compute, Middle middle) {
  compute.Synchronize();  // what is written here may have been read by queued work
  const int64_t begin_ns = Trace::Now();
  AddMeans(compute);
  before_.swap(host_selected_);
  chosen_before_ = selected_at_ < 0 ? 0 : chosen_;
  complete_ = store_.tokens() / chunk_tokens_;
  chosen_ = ChunksToChoose();
  budget_used_ = chosen_ * chunk_tokens_;
  selected_at_ = store_.tokens();
  if (chosen_ > 0) Choose(compute, middle);
  host_selected_.resize(Heads() * chosen_);
  ++stats_.selections;
  stats_.selected_chunks = Heads() * chosen_;
  for (int64_t head = 0; head < Heads(); ++head) CountReselected(head);
  Locate(compute);
  stats_.select_ms += static_cast<double>(Trace::Now() - begin_ns) * 1e-6;
}

int64_t RetrievalIndex::RecentChunks(Middle middle, int64_t first) const {
  switch (middle) {
    case Middle::kStreaming:
      return chosen_ - first;
    case Middle::kHeavyHitters:
      return (chosen_ - first) / 2;
    case Middle::kRetrieval:
    case Middle::kOracle:
      break;
  }
  const int64_t most = std::max<int64_t>(1, chosen_ / 4);
  return std::min(std::clamp<int64_t>(kRecentTokens / chunk_tokens_, 1, most), chosen_ - first);
}

void RetrievalIndex::Choose(Lane& compute, Middle middle) {
  if (!places_on_host_) {
    compute.Copy(host_places_.data(), places_.data(), Heads() * (prompt_first_ + prompt_last_) * SizeOf(DType::kI32),
                 "places");
    compute.Synchronize();
    places_on_host_ = true;
  }
  // A streaming cache is sinks and recent chunks; the others have one of the first, and some recent ones.
  const int64_t first = middle == Middle::kStreaming ? std::min(sizes_.first_places, chosen_ / 2) : 1;
  const int64_t recent = RecentChunks(middle, first);
  const int64_t forced = first + recent;
  host_forced_.clear();
  for (int64_t head = 0; head < Heads(); ++head) AppendForced(head / kv_heads_, head % kv_heads_, first, recent);
  compute.Copy(forced_.data(), host_forced_.data(), Heads() * forced * SizeOf(DType::kI32), "forced chunks");
  TF_CHECK(middle != Middle::kHeavyHitters || weighs(), "the plan does not weigh chunks");
  const bool scored = middle == Middle::kRetrieval && KeptQueries(0).dim(0) > 0;
  if (!scored) {  // all alike: the lowest come first, which rank highest
    Zero(compute, scores_);
  }
  for (int64_t layer = 0; layer < layers_; ++layer) {
    const Range left_out = LeftOut(layer);
    if (scored) {
      ChunkShares(
          compute,
          {.q = KeptQueries(layer), .means = means_[layer], .chunks = complete_, .scale = scale_, .shares = scores_});
    }
    ChunkSelect(compute, {.scores = middle == Middle::kHeavyHitters ? shares_[layer] : scores_,
                          .chunks = complete_,
                          .out_first = left_out.first,
                          .out_end = left_out.end,
                          .forced = OfLayer(forced_, layer, forced),
                          .selected = OfLayer(selected_, layer, chosen_)});
  }
  host_selected_.resize(Heads() * chosen_);
  compute.Copy(host_selected_.data(), selected_.data(), Heads() * chosen_ * SizeOf(DType::kI32), "selected chunks");
  compute.Synchronize();
}

TensorView RetrievalIndex::OfLayer(const TensorView& t, int64_t layer, int64_t width) const {
  return t.Slice(0, layer * kv_heads_ * width, (layer + 1) * kv_heads_ * width).Reshape({kv_heads_, width});
}

void RetrievalIndex::SelectByMass(Lane& compute, int64_t layer, const TensorView& q) {
  TF_CHECK(weighs() && store_.Streamed(layer).empty());
  if (chosen_ == 0) return;
  Zero(compute, scores_);
  // The tail may reach beyond the context.
  const int64_t end = KvBlocks(complete_ * chunk_tokens_) * kv_heads_;
  for (const KvView& kv : {store_.Resident(layer), store_.Tail(layer)}) {
    const int64_t entries = std::clamp<int64_t>(end - kv.first_entry, 0, kv.entries());
    if (entries == 0) continue;
    ChunkMass(compute, {q, kv.Slice(0, entries), complete_ * chunk_tokens_, scale_, chunk_tokens_, log_masses_});
  }
  AddChunkMass(compute, {log_masses_, complete_, scores_});
  const TensorView selected = OfLayer(selected_, layer, chosen_);
  ChunkSelect(compute, {.scores = scores_,
                        .chunks = complete_,
                        .out_first = 0,
                        .out_end = 0,
                        .forced = OfLayer(forced_, 0, 0),
                        .selected = selected});
  compute.Copy(host_selected_.data() + layer * kv_heads_ * chosen_, selected.data(), selected.bytes(),
               "selected chunks");
  compute.Synchronize();
  for (int64_t kv_head = 0; kv_head < kv_heads_; ++kv_head) LocateHead(layer, kv_head);
  const TensorView lists = lists_.Slice(0, layer, layer + 1);
  compute.Copy(lists.data(), host_lists_.data() + layer * lists.elements(), lists.bytes(), "lists");
  compute.Synchronize();
}

void RetrievalIndex::CountReselected(int64_t head) {
  const auto now = host_selected_.begin() + head * chosen_, end = now + chosen_;
  auto before = before_.begin() + head * chosen_before_;
  const auto before_end = before + chosen_before_;
  for (auto chunk = now; chunk != end; ++chunk) {
    while (before != before_end && *before < *chunk) ++before;
    stats_.reselected_chunks += before == before_end || *before != *chunk;
  }
}

std::span<const int32_t> RetrievalIndex::Selected(int64_t layer, int64_t kv_head) const {
  return std::span(host_selected_).subspan((layer * kv_heads_ + kv_head) * chosen_, chosen_);
}

std::byte* RetrievalIndex::TileIn(const TensorView& blocks, int64_t entry, int64_t position) const {
  return static_cast<std::byte*>(blocks.data()) + entry * plan_.kv_block_bytes() +
         position % kKvBlock / kKeyTile * tile_bytes_;
}

const std::byte* RetrievalIndex::DeviceTile(const DeviceKv& kv, int64_t kv_head, int64_t position) const {
  const int64_t entry = position / kKvBlock * kv_heads_ + kv_head;
  if (entry >= kv.tail.first_entry) return TileIn(kv.tail.blocks, entry - kv.tail.first_entry, position);
  return entry < kv.resident.entries() ? TileIn(kv.resident.blocks, entry, position) : nullptr;
}

void RetrievalIndex::Locate(Lane& compute) {
  compute.Synchronize();
  gathered_->Wait();
  pieces_.clear();
  on_disk_.clear();
  for (int64_t layer = 0; layer < layers_; ++layer) {
    for (int64_t kv_head = 0; kv_head < kv_heads_; ++kv_head) LocateHead(layer, kv_head);
  }
  compute.Copy(lists_.data(), host_lists_.data(), lists_.bytes(), "lists");
  if (pieces_.empty() && on_disk_.empty()) return;
  if (!pieces_.empty()) link_.Gather(pieces_);
  for (const CopyPiece& piece : pieces_) stats_.guest_bytes += piece.bytes;
  for (const GuestOnDisk& piece : on_disk_) {
    link_.ToDevice(piece.from, piece.to);
    stats_.guest_bytes += piece.from.bytes;
  }
  link_.lane().Record(*gathered_);
  compute.WaitFor(*gathered_);
}

void RetrievalIndex::LocateHead(int64_t layer, int64_t kv_head) {
  const int64_t chunk_tiles = chunk_tokens_ / kKeyTile;
  int64_t listed = 0;
  const auto list = [&](const std::byte* tile) {
    const int64_t entry = (layer * sizes_.list_blocks + listed / kBlockTiles) * kv_heads_ + kv_head;
    host_lists_[entry * kBlockTiles + listed % kBlockTiles] = reinterpret_cast<int64_t>(tile);
    ++listed;
  };
  const DeviceKv kv{store_.Tail(layer), store_.Resident(layer)};
  MoveGuests(layer, kv_head, kv);
  auto guest = guest_of_[layer * kv_heads_ + kv_head].begin();
  for (const int32_t chunk : Selected(layer, kv_head)) {
    const std::byte* tile = DeviceTile(kv, kv_head, chunk * chunk_tokens_);
    if (tile == nullptr) tile = GuestTile(layer, kv_head, (guest++)->slot);
    for (int64_t i = 0; i < chunk_tiles; ++i) list(tile + i * tile_bytes_);
  }
  // The newest tokens, and those that passes will add.
  const int64_t end = (store_.tail_first_block() + plan_.tail_blocks) * kKvBlock;
  for (int64_t position = complete_ * chunk_tokens_; position < end && listed < sizes_.list_blocks * kBlockTiles;
       position += kKeyTile) {
    list(DeviceTile(kv, kv_head, position));
  }
}

std::byte* RetrievalIndex::GuestTile(int64_t layer, int64_t kv_head, int64_t slot) const {
  const int64_t position = slot * chunk_tokens_;
  return TileIn(guests_[layer], position / kKvBlock * kv_heads_ + kv_head, position);
}

// Guests that stay keep their slots; those that come get what is free, and are fetched.
void RetrievalIndex::MoveGuests(int64_t layer, int64_t kv_head, const DeviceKv& kv) {
  std::vector<Guest>& guests = guest_of_[layer * kv_heads_ + kv_head];
  if (plan_.guest_blocks == 0) return;
  slot_taken_.assign(plan_.guest_blocks * kKvBlock / chunk_tokens_, false);
  guests_after_.clear();
  auto old = guests.begin();
  for (const int32_t chunk : Selected(layer, kv_head)) {
    if (DeviceTile(kv, kv_head, chunk * chunk_tokens_) != nullptr) continue;
    while (old != guests.end() && old->chunk < chunk) ++old;
    const bool stays = old != guests.end() && old->chunk == chunk;
    guests_after_.push_back({chunk, stays ? old->slot : -1});
    if (stays) slot_taken_[old->slot] = true;
  }
  int32_t slot = 0;
  for (Guest& guest : guests_after_) {
    if (guest.slot >= 0) continue;
    while (slot_taken_[slot]) ++slot;
    guest.slot = slot++;
    Fetch(layer, kv_head, guest);
  }
  guests.swap(guests_after_);
}

void RetrievalIndex::Fetch(int64_t layer, int64_t kv_head, const Guest& guest) {
  const int64_t position = guest.chunk * chunk_tokens_, bytes = chunk_tokens_ / kKeyTile * tile_bytes_;
  const int64_t keys = position % kKvBlock / kKeyTile * tile_bytes_, values = plan_.kv_block_bytes() / 2;
  const Transfer entry = store_.StoredEntry(layer, position / kKvBlock * kv_heads_ + kv_head);
  std::byte* const to = GuestTile(layer, kv_head, guest.slot);
  for (const int64_t half : {int64_t{0}, values}) {
    if (entry.host != nullptr) {
      pieces_.push_back({to + half, entry.host + keys + half, bytes});
    } else {
      on_disk_.push_back({PartOf(entry, keys + half, bytes), to + half});
    }
  }
}

bool RetrievalIndex::HoldsFor(int64_t rows) const {
  const int64_t behind = store_.tokens() - complete_ * chunk_tokens_;
  return selected_at_ >= 0 && behind >= 0 && complete_ * chunk_tokens_ >= store_.tail_first_block() * kKvBlock &&
         budget_used_ + behind + rows <= sizes_.list_blocks * kKvBlock;
}

KvView RetrievalIndex::View(int64_t layer, int64_t visible) const {
  const int64_t first = layer * sizes_.list_blocks * kv_heads_;
  const TensorView lists = lists_.Reshape({layers_ * sizes_.list_blocks * kv_heads_, kBlockTiles});
  return {store_.Tail(layer).blocks, kv_heads_, 0, lists.Slice(0, first, first + KvBlocks(visible) * kv_heads_)};
}

// Where the rows of a pass go: behind those that they continue, as far as there is room.
void RetrievalIndex::MakeRoomToKeep(int64_t first_position, int64_t rows) {
  kept_shift_ = {};
  const int64_t continued = first_position - kept_first_;
  const bool continues = continued >= 0 && continued <= kept_rows_ && rows + 2 * kScoredRows <= sizes_.kept_rows;
  if (!continues) {
    const int64_t kept = std::min(rows, sizes_.kept_rows);
    keep_at_ = 0;
    kept_first_ = first_position + rows - kept;
    kept_rows_ = kept;
    return;
  }
  keep_at_ = continued;
  if (continued + rows > sizes_.kept_rows) {  // rows enough lie between the two places: kept_rows has room for it
    kept_shift_ = {continued - kScoredRows, continued};
    keep_at_ = kScoredRows;
    kept_first_ = first_position - kScoredRows;
  }
  kept_rows_ = keep_at_ + rows;
}

void RetrievalIndex::Keep(Lane& compute, int64_t layer, const TensorView& q, int64_t first_position) {
  const TensorView& to = queries_[layer];
  TF_CHECK(q.stride(0) == to.dim(1), "{}", q.ToString());
  if (layer == 0) MakeRoomToKeep(first_position, q.dim(0));
  const TensorView shifted = to.Slice(0, kept_shift_.first, kept_shift_.end);
  compute.Copy(to.data(), shifted.data(), shifted.bytes(), "keep queries");
  const int64_t rows = kept_rows_ - keep_at_;
  const TensorView from = q.Slice(0, q.dim(0) - rows, q.dim(0));
  // Rows of a pass have keys and values behind their queries; those of the last one are not there to be copied.
  compute.Copy(to.Slice(0, keep_at_, kept_rows_).data(), from.data(),
               ((rows - 1) * q.stride(0) + q.dim(1) * q.dim(2)) * SizeOf(DType::kF32), "keep queries");
}

TensorView RetrievalIndex::KeptQueries(int64_t layer) const {
  const ModelShape& s = plan_.shard;
  const int64_t end = std::clamp<int64_t>(store_.tokens() - kept_first_, 0, kept_rows_);
  const int64_t rows = std::min({end, kScoredRows, store_.tokens() - first_scored_});
  return queries_[layer].Slice(0, end - rows, end).Slice(1, 0, s.q_features()).SplitRows(s.heads, head_dim_);
}

}  // namespace triforce

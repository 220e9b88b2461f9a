// The Python face of postings.
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>

#include <algorithm>
#include <limits>
#include <optional>

#include "arrays.h"
#include "documents.h"
#include "module.h"
#include "postings.h"
#include "variants.h"

namespace vecstore {

namespace {

using Ids = nb::ndarray<nb::ro, nb::numpy, nb::ndim<1>, nb::c_contig, nb::device::cpu>;

// An id of `size` - 1 or more counts as `size` - 1; offsets lead nowhere out of the tokens.
template <class Id>
Postings postings_of(const Documents& documents, const Id* ids, i64 size) {
    Postings found;
    std::vector<u32> last(size_t(size), ~u32(0));
    std::vector<u64> next(size_t(size) + 1);
    const u64 tokens = u64(documents.tokens);
    const auto each = [&](const auto& act) {
        for (i64 d = 0; d < documents.count; d++) {
            const u64 stop = std::min(documents.offsets[d + 1], tokens);
            for (u64 t = std::min(documents.offsets[d], tokens); t < stop; t++) {
                const i64 id = std::min(i64(ids[t]), size - 1);
                if (last[size_t(id)] == u32(d)) continue;
                last[size_t(id)] = u32(d);
                act(size_t(id), u32(d));
            }
        }
    };
    each([&](size_t id, u32) { next[id + 1]++; });
    for (size_t k = 0; k < size_t(size); k++) next[k + 1] += next[k];
    found.offsets = next;
    found.documents.resize(next.back());
    std::fill(last.begin(), last.end(), ~u32(0));
    // Not beyond a list's end, should somebody write to the mapped ids meanwhile.
    each([&](size_t id, u32 d) {
        if (next[id] < found.offsets[id + 1]) found.documents[next[id]++] = d;
    });
    return found;
}

class PostingLists {
  public:
    PostingLists(In<u64, 1> offsets, Ids ids, i64 size) : count_(i64(offsets.shape(0)) - 1) {
        const bool wide = ids.dtype() == nb::dtype<u16>();
        check(wide || ids.dtype() == nb::dtype<u8>(), "ids of uint8 or uint16");
        check(0 < size && size <= (wide ? 65536 : 256),
              "1 to 65,536 centroids, or 256 where an id is one byte");
        check(count_ >= 0 && count_ < ROWS_MAX, "offsets of shape [N + 1], N below 2^32");
        const Documents documents{offsets.data(), count_, i64(ids.shape(0)),
                                  std::numeric_limits<i64>::max(), nullptr, 0};
        nb::gil_scoped_release release;
        postings_ = wide ? postings_of(documents, static_cast<const u16*>(ids.data()), size)
                         : postings_of(documents, static_cast<const u8*>(ids.data()), size);
    }

    nb::tuple candidates(In<u8, 2> table, i64 vectors, i64 nprobe, i64 keep,
                         std::optional<In<u64, 1>> allowed,
                         const std::optional<std::string>& name) const {
        const Variant& variant = variant_named(name);
        const i64 columns = i64(table.shape(1)), words = (count_ + BLOCK - 1) / BLOCK;
        check(table.shape(0) + 1 == postings_.offsets.size(), "a row of the table a centroid");
        check(columns % STRIP == 0 && 0 < vectors && vectors <= columns,
              "columns, a multiple of 32, and as many vectors at most, 1 at least");
        check(nprobe > 0 && keep > 0, "nprobe and keep of at least 1");
        check(!allowed || i64(allowed->shape(0)) >= words,
              "a word of allowed for every 64 documents");
        std::vector<u64> out(static_cast<size_t>(words));
        i64 read, found = 0;
        {
            nb::gil_scoped_release release;
            read = variant.candidates(postings_, table.data(), columns, vectors, nprobe, keep,
                                      allowed ? allowed->data() : nullptr, count_, out.data());
            for (u64 word : out) found += __builtin_popcountll(word);
        }
        return nb::make_tuple(array(std::move(out), {size_t(words)}), found, read);
    }

    size_t bytes() const {
        return postings_.offsets.size() * sizeof(u64) + postings_.documents.size() * sizeof(u32);
    }

  private:
    i64 count_;
    Postings postings_;
};

}  // namespace

void add_postings(nb::module_& m) {
    const auto in = [](const char* name) { return nb::arg(name).noconvert(); };
    nb::class_<PostingLists>(m, "Postings")
        .def(nb::init<In<u64, 1>, Ids, i64>(), in("offsets"), in("ids"), nb::arg("size"))
        .def("candidates", &PostingLists::candidates, in("table"), nb::arg("vectors"), nb::arg("nprobe"),
             nb::arg("keep"), in("allowed").none(), nb::arg("variant") = nb::none())
        .def_prop_ro("nbytes", &PostingLists::bytes);
}

}  // namespace vecstore

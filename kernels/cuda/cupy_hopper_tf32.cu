// As cupy_hopper.cu, on TF32: 11 significant bits instead of 8, in numbers twice as long.
//
// At the same time: what that file says, with half as many multiply-adds to an instruction and half as many steps of k to
// a tile, so that a tile has as many bytes and takes as long.
// The copy engine shortens float32 to TF32 on the way, so an operand that lies with K along its rows is taken as it is.
// The other one must be turned round first by `lay_out`: the tensor cores read 4-byte numbers with K along rows only.
// NVIDIA does not say whether the copy engine rounds or cuts off, so the error bound allows either.
// Limit: the tensor cores. cupy_tensor.cu cannot keep them busy on this chip: its instruction (mma) is a warp's, and only
// a warpgroup's (wgmma) is as wide as they are.

#include "cupy_hopper.cu"

"""Primitives without a rule, each with the reason; the test of coverage fails for one that is in no list."""

from __future__ import annotations

_REASONS = {
    "it runs Python code on the host, whose arithmetic nobody knows here": """
        pure_callback io_callback buffer_callback""",
    "it calls foreign or exported code, whose arithmetic nobody knows here": """
        ffi_call call_exported spsolve cudnn_fusion rnn_fwd rnn_bwd dot_product_attention_fwd
        dot_product_attention_fwd_wrapper dot_product_attention_bwd dot_product_attention_bwd_wrapper
        dot_product_attention_fp8_fwd dot_product_attention_fp8_fwd_wrapper dot_product_attention_fp8_bwd
        dot_product_attention_fp8_bwd_wrapper mosaic_gpu_p tpu_custom_call""",
    "it is a compiled kernel; call it with interpret=True, or track the function that it replaces": """
        pallas_call""",
    "it is a hand-written kernel; track the function that it replaces, or certify it with model='certified'": """
        core_map mpmd_map""",
    "it stands inside of hand-written kernels only": """
        _copysign add_dependency all_reduce_ffs all_reduce_population_count async_copy_scales_to_tmem
        async_copy_smem_to_tmem async_copy_sparse_metadata_to_tmem async_load async_prefetch async_store_smem
        async_store_tmem atomic_cas atomic_rmw barrier barrier_arrive barrier_arrive_and_wait barrier_test barrier_wait
        bitcast commit_group commit_smem commit_tmem conv copy_gmem_to_smem copy_smem_to_gmem custom_fusion
        debug_barrier debug_barrier_p delay dma_start dma_wait einshape_lo elementwise_inline_asm
        elementwise_inline_asm_p emit_pipeline fusible get_barrier_semaphore get_global
        griddepcontrol_launch_dependents griddepcontrol_wait has_memory_space inline_mgpu inline_mgpu_p jaxpr_call
        layout_cast load masked_cummax masked_cummin masked_cumsum masked_load masked_sort masked_swap matmul_acc_lhs
        matmul_lhs_fifo matmul_pop matmul_pop_fifo matmul_push_rhs max_contiguous mgpu_atomic_store mma
        mosaic_gpu_reduce_max mosaic_gpu_reduce_min mosaic_gpu_reduce_prod mosaic_gpu_reduce_sum multimem_load_reduce
        multimem_store multiple_of num_programs pack pack_dtype pack_elementwise parallel_loop pipeline_body
        print_layout prng_join prng_random_bits prng_seed prng_split program_id query_cluster_cancel reciprocal
        remove_memory_space roll run_scoped sc_fetch_and_add scan_count semaphore_read semaphore_signal
        semaphore_signal_multicast semaphore_signal_parallel semaphore_wait set_max_registers set_max_registers_p
        stochastic_round store tcgen05_commit_arrive tcgen05_mma trace_value try_cluster_cancel unique unpack
        unpack_dtype unpack_elementwise wait_gmem_to_smem wait_load_tmem wait_smem_to_gmem wgmma
        wgmma_accumulator_deref wgmma_accumulator_deref_p wgmma_accumulator_store wgmma_accumulator_store_p wgmma_ref
        wgmma_wait""",
    "it is one half of an asynchronous collective; errors go with collectives that JAX starts and ends at once": """
        all_gather_done all_gather_reduced_start all_gather_start all_to_all_done all_to_all_start pbroadcast_done
        pbroadcast_start ppermute_done ppermute_start precv psend psum_done psum_invariant_start psum_start
        reduce_scatter_done reduce_scatter_start unreduced_psum_start unreduced_reduce_scatter_start""",
    "it leaves a sum over devices for later, where no rule sees it": """
        all_gather_reduced unreduced_pmax unreduced_pmin unreduced_psum unreduced_reduce_scatter preduced
        reduced_vary_cast reduced_vary_cast_p vary_unreduced_cast vary_unreduced_cast_p""",
    "where its data come from, or go to, depends on data": """
        ragged_all_to_all pbroadcast_dynamic""",
    "it joins arrays of several processes, outside of a program": """
        global_array_to_host_local_array host_local_array_to_global_array""",
    "its ref comes from outside of the function, where no error waits beside it; refs made inside are tracked": """
        new_ref empty_ref get swap addupdate freeze free_ref""",
    "gradients that are summed up in a ref carry no errors; let the function return them": """
        accum_grad_in_ref""",
    "boxes and logs of hijax carry no errors; use jax.Ref": """
        box_get box_set log_extend log_read new_box new_log""",
    "it is a kernel of cuSPARSE, or made by sparsify; use the arrays of jax.experimental.sparse themselves": """
        coo_spmm coo_spmv csr_spmm csr_spmv todense""",
    "it multiplies in block-scaled formats of accelerators": """
        scaled_dot scaled_matmul scaled_matmul_wrapper""",
    "it scatters with any function in any order, so nothing bounds its result": """
        select_and_scatter""",
    "it is written for the thunks of one accelerator": """
        thunky.all_gather thunky.all_reduce thunky.all_to_all thunky.async_done thunky.async_start thunky.call_jax
        thunky.call_thunky_nested thunky.collective_group thunky.collective_permute thunky.cond thunky.copy
        thunky.custom_call thunky.inline_constant thunky.memset thunky.memzero thunky.ptx_kernel thunky.reduce_scatter
        thunky.while""",
    "the order of its eigenvalues and the phases of its vectors come out of an iteration and cannot be told from its\
 result; use jnp.linalg.eig, or eigh": """
        schur""",
    "its reflections are determined by a Krylov basis, whose condition leaves no finite bound beyond a few rows; use\
 jnp.linalg.eig, or eigh": """
        hessenberg tridiagonal""",
    "its pivots are decisions on norms that it only updates; use jnp.linalg.qr": """
        geqp3""",
    "it has no results, so there is nothing to bound": """
        debug_callback debug_print dce_sink""",
    "JAX makes it while it transforms a program, and removes it before a program runs": """
        assert_consumed_value check consume unreachable inspect_sharding broadcast_to create_linear dim_as_value
        dimension_size shape_assertion stage tie zeros_like to_edtype from_edtype call_hi_primitive_linearized
        custom_jvp_call_jaxpr custom_lin linear_call program_order remat_opt custom_partitioning iota_2x32_shape""",
}  # fmt: skip

REFUSED = {name: reason for reason, names in _REASONS.items() for name in names.split()}
